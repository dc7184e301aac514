"""What the experiments on gradient descent and SGD share: when a loss is reached, by which law."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.experiments.zou2018._problem import DeepSettings, Problem
from companion.lab.checks import anyway, exponent_at_most, true
from companion.lab.results import Check
from companion.lab.settings import Size
from companion.lab.sweep import Variables
from companion.losses import LOSSES
from companion.training import History

# A law is judged by the last so many targets: of a law like 1/k that is the last decade of steps.
TAIL = 4
# By which an exponent in k or 1/epsilon may exceed that of the law. The last targets are eight
# times apart: a law beyond it would take a quarter more iterations than allowed for.
WITHIN = 0.1
# The same for one in log(1/epsilon), to whose power K = a + b log(1/epsilon) comes slowly: half way
# from the logarithm to its square.
WITHIN_LOG = 0.5
Halvings = Annotated[int, Field(ge=TAIL + 1)]


class DescentSettings(DeepSettings):
    """Settings of runs that are asked for the losses 1/2, 1/4, 1/8, ...

    Attributes:
        width: m, of every hidden layer.
        depth: D, the number of hidden layers.
        steps: that a run makes at most.
        slow_halvings: the least loss asked for is 2 to minus so many where p = 1, and the
            iterations grow like 1/epsilon.
        fast_halvings: the same where p is less, and they grow less.
        looks: so many steps, evenly spread on a logarithmic scale, at which figures look.
    """

    width: Annotated[int, Field(ge=2, multiple_of=2)] = 256
    depth: Size = 2
    steps: Annotated[int, Field(ge=100)] = 1200
    slow_halvings: Halvings = 5
    fast_halvings: Halvings = 20
    looks: Annotated[int, Field(ge=10)] = 40

    def halvings(self, loss: str) -> int:
        """How many targets a loss has."""
        return self.slow_halvings if LOSSES[loss].constant("p") > 0.5 else self.fast_halvings

    def targets(self, loss: str) -> np.ndarray:
        """The losses epsilon that are asked for, shape (halvings,)."""
        return np.asarray(0.5 ** np.arange(1, self.halvings(loss) + 1))

    @property
    def looked_at(self) -> np.ndarray:
        """The steps at which figures look, from 1 to the last, in increasing order."""
        return np.unique(np.geomspace(1, self.steps, self.looks).round().astype(int))


def united(problems: Sequence[Problem]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The data of several problems as a fleet takes them, whose members have subsets.

    Args:
        problems: of n inputs each.

    Returns:
        Inputs, shape (problems n, d), labels, shape (problems n,), and the rows of each problem.
    """
    x, y = (torch.cat([getattr(p, name) for p in problems]) for name in ("x", "y"))
    return x, y, list(torch.split(torch.arange(len(x)), [len(p.x) for p in problems]))


def first(flags: np.ndarray) -> float:
    """Index of the first one that is true, or NaN."""
    return float(flags.argmax()) if flags.any() else math.nan


def milestones(settings: DescentSettings, loss: str, history: History) -> Variables:
    """When a run comes to its targets.

    Args:
        settings: of the run.
        loss: its name.
        history: with records `loss`, L_S, and `error`, the training error, at every step.

    Returns:
        `iterations`, the first step at which L_S <= epsilon, NaN where there is none, for each
        target; `first_small`, the same for epsilon = l(0) / n; `first_right`, the first step
        without training error; `least`, the least L_S; `mean_loss`, L_S at the looks, NaN after
        the end of the run.
    """
    s, losses = settings, history["loss"]
    reached = np.full(max(s.slow_halvings, s.fast_halvings), math.nan)
    reached[: s.halvings(loss)] = [first(losses <= target) for target in s.targets(loss)]
    return {
        "iterations": ("halving", reached),
        "first_small": first(losses <= LOSSES[loss].value_at_0 / s.count),
        "first_right": first(history["error"] == 0),
        "least": losses.min(),
        "mean_loss": ("look", at_looks(s, losses)),
    }


def at_looks(settings: DescentSettings, record: np.ndarray) -> np.ndarray:
    """A record of every step at those of the looks, NaN after its end."""
    steps = settings.looked_at
    made = steps < len(record)
    return np.where(made, record[np.where(made, steps, 0)], math.nan)


def stacked(each: Sequence[Variables], **sizes: int) -> Variables:
    """What is found of every run, as arrays whose first dimensions count the runs.

    Args:
        each: of the runs, the last dimension the fastest.
        **sizes: dimension -> length; their product is the number of runs.
    """
    runs = xr.concat([xr.Dataset(one) for one in each], "member").transpose("member", ...)
    return {
        name: ([*sizes, *array.dims[1:]], array.values.reshape(*sizes.values(), *array.shape[1:]))
        for name, array in runs.data_vars.items()
    }


def late_iterations(settings: DescentSettings, found: xr.Dataset, loss: str) -> xr.DataArray:
    """What the last targets cost, over the law's 1, log(1/epsilon) or epsilon^(1 - 2p).

    Where the loss obeys dL/dt = -c L^2p with p > 1/2, K(epsilon) is proportional to
    epsilon^(1 - 2p) - L(0)^(1 - 2p), which comes to its power from above; the halving from
    2 epsilon to epsilon costs a multiple of epsilon^(1 - 2p) exactly, and is taken instead.

    Args:
        settings: of the run.
        found: by the run, with `iterations`, dimensions `loss` and `halving` and others.
        loss: name.

    Returns:
        With a dimension `size` in place of `halving`; its coordinate is log(1/epsilon) where the
        law is a logarithm, and else 1/epsilon.
    """
    asked, p = settings.halvings(loss), LOSSES[loss].constant("p")
    every = found.iterations.sel(loss=loss)
    spent = every.diff("halving") if p > 0.5 else every
    late = spent.sel(halving=slice(asked - TAIL + 1, asked))
    inverse = 2.0**late.halving
    size = np.log(inverse) if p == 0.5 else inverse
    law = size ** (1 if p == 0.5 else max(0, 2 * p - 1))
    over: xr.DataArray = (late / law).assign_coords(halving=size.values)
    return over.rename(halving="size")


def keeps_to_its_law(settings: DescentSettings, found: xr.Dataset, loss: str) -> Check:
    """Whether the iterations grow no faster as epsilon falls than the theorems say."""
    p = LOSSES[loss].constant("p")
    if p < 0.5:
        what = r"the iterations $K(\epsilon)$ in $1/\epsilon$"
    elif p == 0.5:
        what = r"the iterations $K(\epsilon)$ over $\log\frac1\epsilon$ in $\log\frac1\epsilon$"
    else:
        what = (
            r"the iterations from loss $2\epsilon$ to $\epsilon$ over $\epsilon^{1-2p}$ in "
            r"$1/\epsilon$"
        )
    late, within = late_iterations(settings, found, loss), WITHIN_LOG if p == 0.5 else WITHIN
    return exponent_at_most(f"{what}, {named(loss)}", late, 0, within, along="size")


def asked_for(settings: DescentSettings, found: xr.Dataset, loss: str) -> xr.DataArray:
    """Whether the run of a loss came to each of its targets."""
    asked: xr.DataArray = found.iterations.sel(loss=loss)
    return asked.isel(halving=slice(settings.halvings(loss))).notnull()


def implication(found: xr.Dataset) -> Check:
    """Whether every iterate with L_S <= l(0) / n has all examples right, as it must.

    Each l_i is at most n L_S <= l(0) then, so each margin is at least 0; and it is 0 only where one
    example has all of the loss.
    """
    reached = found.first_small.notnull().values
    kept = (found.first_right <= found.first_small).values[reached]
    what = (
        "the first iterate without training error is none later than the first with "
        r"$L_S\le\ell(0)/n$"
    )
    return anyway(true(what, kept))


def named(loss: str) -> str:
    """A loss in a sentence."""
    return loss.replace("-", " ") if loss != "cross-entropy" else loss
