"""The ways things go wrong that a user can do something about."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. The message is one sentence: what is wrong and what would be right."""


class MissingDataError(InputError):
    """Real data that a run reads are not on this machine; the message says how to get them."""


class DivergedError(InputError):
    """The step size is too large for gradient descent to stay finite."""


class ContractError(InputError):
    """An experiment, a page or a table of this project does not keep to what all of them do."""


class DamagedError(InputError):
    """A file that this program wrote is no longer what it wrote."""


class BuildError(RuntimeError):
    """The book could not be built from inputs that were themselves well-formed."""


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known, else raise `InputError` naming the nearest known one."""
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(names) + "."
    raise InputError(f"there is no {kind} '{name}'; {hint}")
