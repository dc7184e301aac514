"""The ways things go wrong that a user can do something about."""


class InputError(ValueError):
    """Bad input. The message is one sentence: what is wrong and what would be right."""


class DivergedError(InputError):
    """The step size is too large for gradient descent to stay finite."""


class DamagedError(InputError):
    """A file that this program wrote is no longer what it wrote."""


class BuildError(RuntimeError):
    """The book could not be built from inputs that were themselves well-formed."""
