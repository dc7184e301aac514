"""A search in a folder: its finished rounds, and the fleet of the round under way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from companion import matmul
from companion.base.files import check_target, read_checked, write_checked
from companion.errors import InputError
from companion.training import Checkpoint
from companion.training.checkpoints import differing_parts, parts_by_content
from companion.widths.rounds import Outcome, Trial


class Maker(Protocol):
    """Makes the runs of a round, and keeps them in a checkpoint while they are under way."""

    def __call__(
        self, number: int, trials: Sequence[Trial], checkpoint: Checkpoint | None
    ) -> list[Outcome]:
        """The outcomes of round `number`, in the order of the trials."""


class Record:
    """The rounds of one search in a folder, each made once.

    Args:
        folder: is made if it is missing.
        deciding: what decides the rounds, part by part.
        maker: of the rounds that are not there yet.
        device: on which they are made.

    Raises:
        InputError: the folder cannot be written, or holds another search or a damaged one.
    """

    def __init__(
        self, folder: Path, deciding: Mapping[str, object], maker: Maker, device: torch.device
    ) -> None:
        self._folder, self._path, self._maker = folder, folder / "search.json", maker
        check_target(self._path)
        self._parts = parts_by_content(deciding)
        self._product = matmul.chosen_product(device)
        self._rounds: list[list[Outcome]] = []
        if self._path.exists():
            self._restore(read_checked(self._path))

    def make(self, number: int, trials: Sequence[Trial]) -> list[Outcome]:
        """The outcomes of a round, made now or before."""
        under_way = self._folder / f"round-{number}.npz"
        if number == len(self._rounds):
            with matmul.using(product=self._product):
                self._rounds.append(self._maker(number, trials, Checkpoint(under_way)))
            self._save()
        under_way.unlink(missing_ok=True)
        return self._rounds[number]

    def _save(self) -> None:
        rounds = [[[*vars(outcome).values()] for outcome in each] for each in self._rounds]
        write_checked(
            self._path, {"parts": self._parts, "product": self._product, "rounds": rounds}
        )

    def _restore(self, told: Mapping[str, Any]) -> None:
        differing = differing_parts(self._parts, told["parts"])
        if differing:
            raise InputError(
                f"{self._folder} holds another search: it differs in its "
                f"{' and '.join(differing)}; name another folder or delete it."
            )
        self._product = told["product"]
        self._rounds = [[Outcome(*outcome) for outcome in each] for each in told["rounds"]]
