"""Runs of gradient descent as long as Theorem 3.3 counts iterates, and far past that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from companion.errors import InputError
from companion.experiments.chen2021._comparators import (
    horizon,
    late_iterate,
    scaled_distance,
)
from companion.experiments.chen2021._linearity import linearisation_errors
from companion.experiments.zou2018._problem import Problem


@dataclass
class Run:
    """What is kept of a run of gradient descent.

    Attributes:
        losses: L_S of every iterate.
        radii: epsilon -> m^alpha max_l ||W_l - W_l(0)||_F, once every loss is below epsilon.
        distance: the same distance of the last iterate of Theorem 3.3, for the least epsilon that
            is followed.
    """

    losses: list[float] = field(default_factory=list)
    radii: dict[float, float] = field(default_factory=dict)
    distance: float = math.nan

    def average(self, epsilon: float, count: float) -> float:
        """The mean of L_S over `count` iterates, over 3 epsilon; NaN if the run has fewer.

        At most 1, says Theorem 3.3, if `count` is T.
        """
        if not count <= len(self.losses):
            return math.nan
        return float(np.mean(self.losses[: int(count)])) / (3 * epsilon)

    def first_below(self, epsilon: float) -> float:
        """The first step after the start at which L_S <= epsilon; NaN if there is none."""
        return next((k for k, loss in enumerate(self.losses) if k and loss <= epsilon), math.nan)


def follow(
    problem: Problem,
    time_step: float,
    targets: Sequence[float],
    followed: Sequence[float],
    least: int,
    most: int,
) -> Run:
    """Gradient descent until every target is reached, and followed to its T.

    Args:
        problem: data and network.
        time_step: eta m^(2 alpha).
        targets: epsilon, each of them.
        followed: those that are followed to T, in increasing order.
        least: iterates to look at in any case.
        most: steps to make at most.
    """
    layers, kept = len(problem.network.parameters), Run()
    ends: dict[float, int] = {}
    for moment in problem.moments(time_step / problem.network.output_gain**2):
        kept.losses.append(float(moment.losses.mean()))
        seen, largest = len(kept.losses), float(moment.losses.max())
        for target in targets:
            if largest < target and target not in kept.radii:
                kept.radii[target] = scaled_distance(moment)
                if target in followed:
                    end = horizon(layers, kept.radii[target], target, time_step)
                    ends[target] = max(end, seen)
        if seen == ends.get(followed[0]):
            kept.distance = scaled_distance(moment)
        done = len(kept.radii) == len(targets) and seen >= max(least, *ends.values())
        if done or moment.step >= most:
            break
    return kept


@dataclass
class LongRun:
    """A run of gradient descent far past T.

    Attributes:
        horizon: T.
        distances: m^alpha max_l ||W_l - W_l(0)||_F of the iterates at T, 2T, 4T, ...
        errors: the largest linearisation error of an input, from these iterates to W*.
        averages: the mean of L_S over as many iterates, over 3 epsilon.
    """

    horizon: int
    distances: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    averages: list[float] = field(default_factory=list)


def follow_past(
    problem: Problem, time_step: float, target: float, octaves: int, most: int
) -> LongRun:
    """Gradient descent for 2^octaves times T; W* is the first iterate with every loss below target.

    Args:
        problem: data and network.
        time_step: eta m^(2 alpha).
        target: epsilon.
        octaves: how often T is doubled.
        most: steps within which W* has to be reached.

    Raises:
        InputError: it is not.
    """
    total, reached, kept = 0.0, None, LongRun(0)
    for moment in problem.moments(time_step / problem.network.output_gain**2):
        if reached is None and float(moment.losses.max()) < target:
            reached = late_iterate(moment)
            layers = len(problem.network.parameters)
            end = horizon(layers, reached.radius, target, time_step)
            kept.horizon = max(end, int(moment.step) + 1)
        if reached is None and moment.step >= most:
            raise InputError(f"after {most} steps a loss is still above {target:g}; give more.")
        if reached is not None and moment.step == kept.horizon * 2 ** len(kept.averages):
            kept.distances.append(scaled_distance(moment))
            kept.errors.append(
                float(linearisation_errors(moment.network, reached.network, moment.x).abs().max())
            )
            kept.averages.append(total / (moment.step * 3 * target))
            if len(kept.averages) > octaves:
                break
        total += float(moment.losses.mean())
    return kept
