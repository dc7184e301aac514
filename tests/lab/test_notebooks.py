"""Parameters that papermill was given by hand and no chapter declares."""

import sys
from types import SimpleNamespace

import pytest

from companion.errors import InputError
from companion.lab.notebooks import check_injected

DECLARING = 'profile: str = "quick"  # quick or paper\nsettings: dict = {}\nplain = 1\n'


def enter(monkeypatch: pytest.MonkeyPatch, *cells: str) -> None:
    shell = SimpleNamespace(user_ns={"In": ["", *cells]})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_misspelt_parameter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "import os", DECLARING, '# Parameters\nprofil = "paper"\n', "1 + 1")
    with pytest.raises(InputError, match="no parameter 'profil'; did you mean 'profile'"):
        check_injected()


@pytest.mark.parametrize(
    "cells",
    [
        [],
        ["x = 1"],
        [DECLARING],
        [DECLARING, '# Parameters\nprofile = "paper"\nsettings = {"a": 1}\nplain = 2\n'],
        [DECLARING, "other = 1"],
        ["%time x = 1", "# Parameters\nx = 3\n"],
        ["# Parameters\nx = 3\n"],  # of a notebook that declares none, at the top
    ],
)
def test_all_else_is_let_through(monkeypatch: pytest.MonkeyPatch, cells: list[str]) -> None:
    enter(monkeypatch, *cells)
    check_injected()


def test_outside_a_notebook_there_is_nothing_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    check_injected()
    monkeypatch.delitem(sys.modules, "IPython")
    check_injected()
