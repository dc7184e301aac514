"""What a notebook that papermill runs by hand can see of the parameters it was given."""

import ast
import sys
from collections.abc import Iterable
from itertools import pairwise

from companion.errors import one_of

# The first line of the cell that papermill adds after the one tagged `parameters`.
_INJECTED = "# Parameters\n"


def check_injected() -> None:
    """Refuse parameters that papermill was given and the notebook does not declare.

    papermill itself only warns and runs the defaults. Outside a notebook there is nothing to see.

    Raises:
        InputError: a name that the cell before the injected one does not assign; the nearest name
            that it does assign is told.
    """
    for declaring, injected in pairwise(_cells()):
        declared = list(_assigned(declaring))
        if injected.startswith(_INJECTED) and declared:
            for name in _assigned(injected):
                one_of("parameter", name, declared)


def _cells() -> list[str]:
    """The source of every cell run so far, the first of them empty."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return list(shell.user_ns["In"]) if shell else []


def _assigned(cell: str) -> Iterable[str]:
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # a magic: not a cell that declares
        return
    for node in body:
        match node:
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
