"""Steps descend by a constant, and so iterates stay near the start (Lemmas 5.4-5.7).

Refuted by an effective constant of descent that falls with the width, of gradient descent or of
SGD; by a run whose distance exceeds sqrt(2 k eta (L(0) - L(k))) although every step descends; by a
distance of SGD that outgrows sqrt(m) times eta times the sum of the mean slopes.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.draws import Batches
from companion.experiments.zou2018._gradients import (
    beyond,
    gradient_radius,
    least_quotient,
    separation_of,
)
from companion.experiments.zou2018._paths import (
    HALF,
    HALF_WAY,
    path_of,
    path_record,
    share_of,
    times_of,
)
from companion.experiments.zou2018._problem import DeepSettings, draw
from companion.kernels import layer_grams
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    note,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.losses import LOSSES
from companion.monitors import (
    Distances,
    Every,
    Moment,
    Record,
    frobenius_distances,
    mean_loss,
)

EXPECTED: dict[str, Outcome] = {
    "zou2018-lem5.4-5": "outside-regime",
    "zou2018-lem5.6-7": "outside-regime",
}

# eta m of gradient descent, so that each loss falls by a factor of several within the steps.
STEP_SIZES = {"cross-entropy": 3.0, "exponential": 0.3, "squared-hinge": 0.3, "hinge": 0.6}
# Those that satisfy Assumption 3.3, a bounded second derivative, at least along a bounded run.
SMOOTH = ("cross-entropy", "exponential", "squared-hinge")
# Those that satisfy Assumption 4.4, and eta m of SGD: alpha_0 is finite, and infinite.
STOCHASTIC = {"cross-entropy": 1.0, "squared-hinge": 0.1}
ROUNDING = 1e-9


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, hidden layers.
        widths: m, in increasing order.
        steps: of gradient descent and of SGD.
        batch: B of SGD over the widths.
        batches: B at the second width, in increasing order.
        every: spectral distances are looked at every so many steps.
    """

    count: Count = 12
    dimension: Dimension = 12
    seeds: Size = 5
    depth: Size = 2
    widths: SeveralSizes = (48, 96, 192, 384)
    steps: Size = 30
    batch: Size = 3
    batches: SeveralSizes = (1, 2, 4, 8)
    every: Size = 10


QUICK = Settings()
PAPER = Settings(
    count=50,
    dimension=50,
    seeds=8,
    depth=5,
    widths=(*QUICK.widths, 768, 1536),
    steps=200,
    batches=(1, 2, 5, 10, 25),
    every=10,
)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a layer and step, and two more for what is watched."""
    s = settings
    widths = sum(m**2 for m in s.widths)
    full = len(STEP_SIZES) * 6 * s.count * widths
    # With batches every record costs a pass over all examples, forth and back.
    watched = len(STOCHASTIC) * 4 * s.count
    batch = len(STOCHASTIC) * 6 * (s.batch * widths + sum(s.batches) * s.widths[1] ** 2)
    small = watched * len(s.batches) * s.widths[1] ** 2
    flops = s.seeds * s.steps * s.depth * (full + batch + watched * widths + small)
    return Cost(flops, 8 * 4 * s.depth * s.widths[-1] ** 2)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.steps} steps of gradient descent with the losses {listed(STEP_SIZES)}, and of SGD "
        f"with {listed(STOCHASTIC)}, on networks of {s.depth} hidden layers of width $m$ = "
        f"{listed(s.widths)}, with $\\eta m$ fixed for each loss; SGD has batches of $B$ = "
        f"{s.batch}, and at $m={s.widths[1]}$ of $B$ = {listed(s.batches)}. Data ({s.data}) and "
        f"networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every loss at every width, by gradient descent; two losses by SGD, over the batches."""
    s, draws = settings, settings.each_seed
    full = sweep(
        "descent", partial(_descend, s, device), seed=draws, loss=STEP_SIZES, width=s.widths
    )
    wide = sweep(
        "sgd", partial(_stochastic, s, device), seed=draws, rule=STOCHASTIC, width=s.widths
    )
    small = sweep(
        "batches", partial(_batch, s, device), seed=draws, rule=STOCHASTIC, size=s.batches
    )
    small = small.rename({name: f"batch_{str(name)[4:]}" for name in small.data_vars})
    return xr.merge([full, wide, small]).assign_attrs(data=s.data)


def _descend(settings: Settings, device: str, *, seed: int, loss: str, width: int) -> Variables:
    """Gradient descent: what every step earns, and how far it has led."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, depth=s.depth, loss=LOSSES[loss])
    eta = STEP_SIZES[loss] / width
    record = {**path_record(s.every), "slope": MeanSlope()}
    history = problem.train(eta, s.steps, record).stable()
    earned = (history["loss"][:-1] - history["loss"][1:]) / eta
    last = layer_grams(history.network, problem.x)[-1]
    return {
        **path_of(history, eta),
        "constant": ("step", times_of(earned, width * history["slope"][:-1] ** 2)),
        "least": least_quotient(problem.layer_grams[-1], problem.y) / width,
        "last_least": least_quotient(last, problem.y) / width,
        "separation": separation_of(problem.x, problem.y),
    }


@dataclass(frozen=True)
class MeanSlope:
    """The mean of |l'(y_i f_i)|, over all examples or over the batch of the step that follows.

    Attributes:
        batches: of SGD; None for all examples.
    """

    batches: Batches | None = None

    def __call__(self, moment: Moment) -> Tensor:
        """Measure at one moment."""
        slopes = moment.loss.derivatives(moment.forward.predictions, moment.y).abs()
        if self.batches is not None:
            slopes = slopes[self.batches.rows(int(moment.step), len(slopes)).to(slopes.device)]
        return slopes.mean()


def largest_gradient(moment: Moment) -> Tensor:
    """The largest ||gradient of l(y_i f_i) in W_l||_F of any example and layer.

    No stochastic gradient of a layer is larger, whatever the batch.
    """
    forward = moment.forward
    slopes = moment.loss.derivatives(forward.predictions, moment.y).abs()
    signals = [*moment.network.signals(forward)][::-1]
    norms = [
        torch.linalg.vector_norm(signal, dim=1) * torch.linalg.vector_norm(hidden, dim=1)
        for signal, hidden in zip(signals, forward.hidden[:-1], strict=True)
    ]
    return (slopes * torch.stack(norms)).max()


def _stochastic(settings: Settings, device: str, *, seed: int, rule: str, width: int) -> Variables:
    return _by_batches(settings, device, seed, rule, width, settings.batch)


def _batch(settings: Settings, device: str, *, seed: int, rule: str, size: int) -> Variables:
    return _by_batches(settings, device, seed, rule, settings.widths[1], size)


def _by_batches(
    settings: Settings, device: str, seed: int, rule: str, width: int, size: int
) -> Variables:
    """SGD: the largest distance of a layer, beside what the steps allow and beside k eta."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, depth=s.depth, loss=LOSSES[rule])
    eta = STOCHASTIC[rule] / width
    order = Batches(size, "subsets", seed)
    record: Record = {
        "loss": mean_loss,
        "slope": MeanSlope(),
        "batch_slope": MeanSlope(order),
        "reach": largest_gradient,
        "frobenius": frobenius_distances,
        "spectral": Every(s.every, Distances()),
    }
    history = problem.train(eta, s.steps, record, batches=order).stable()
    looks = history.at["spectral"].astype(int)[1:]
    far = history["spectral"][1:, :, 2].max(axis=1)
    allowed = eta * np.cumsum(history["reach"][:-1])
    led = eta * width**0.5 * np.cumsum(history["batch_slope"][:-1])
    squares = np.square(history["slope"][:-1]).sum()
    return {
        "sgd_far": ("sgd_looked", far),
        "sgd_per_time": ("sgd_looked", far / (eta * width**0.5 * looks)),
        "sgd_rate": ("sgd_looked", share_of(far, led[looks - 1])),
        "sgd_share": (
            "sgd_after",
            share_of(history["frobenius"][1:].max(axis=1), allowed),
        ),
        "sgd_constant": (history["loss"][0] - history["loss"][-1]) / (eta * width * squares),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents and extremes; those of the hinge apart."""
    s, smooth, hinge = settings, found.sel(loss=list(SMOOTH)), found.sel(loss="hinge")
    ball = gradient_radius(s.count, s.depth, float(found.separation.min()))
    return {
        "constant": smooth.constant.min(),
        "constant_exponent": exponent(smooth.constant.min("step")),
        "descent": smooth.descent.min(),
        "descent_over_least": (2 * smooth.constant / _least_along(smooth)).min(),
        "path": smooth.path.max(),
        "spectral_slack_mean": (1 / smooth.spectral_path.max("looked")).mean(),
        "hinge_descent": hinge.descent.min(),
        "hinge_failures": float((hinge.descent < HALF).mean()),
        "sgd_exponent": exponent(found.sgd_rate.max("sgd_looked")),
        "sgd_share": found.sgd_share.max(),
        "sgd_constant_exponent": exponent(found.sgd_constant),
        "batch_exponent": _of_batches(found, "squared-hinge"),
        "far": max(float(found.far.max()), float(found.sgd_far.max())),
        "radius": ball,
    }


def _of_batches(found: xr.Dataset, rule: str) -> float:
    """Exponent in B of the largest distance per k eta."""
    return exponent(found.batch_per_time.sel(rule=rule).max("sgd_looked"), "size")


def _least_along(found: xr.Dataset) -> xr.DataArray:
    """The lesser of the least quotients, over m, at both ends of a run."""
    least: xr.DataArray = np.minimum(found.least, found.last_least)
    return least


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds at every step, and exponents in m from one side."""
    ball = gradient_radius(settings.count, settings.depth, float(found.separation.min()))
    far = max(float(found.far.max()), float(found.sgd_far.max()))
    return [_gradient_descent(found, beyond(far, ball)), _sgd(found, beyond(far, ball))]


def _gradient_descent(found: xr.Dataset, outside: str) -> Verdict:
    smooth = found.sel(loss=list(SMOOTH))
    hinge = found.sel(loss="hinge")
    return claim(
        "zou2018-lem5.4-5",
        r"within the ball each step has $L_S(W^{(k+1)})-L_S(W^{(k)})\le"
        r"-\eta\frac{c_0m\phi}{2n^5}\big(\sum_i\ell'(y_i\hat y_i^{(k)})\big)^2$, so that "
        r"a $k\eta$ of order $1/m$ reaches any loss; and "
        r"$\lVert W_l^{(k)}-W_l^{(0)}\rVert_2\le\tau$ while "
        r"$k\eta=O(L^{-4}n^{-3}\tau^2\phi)$",
        at_least(
            r"what a step takes off the loss, over $\eta\lVert\nabla L_S\rVert_F^2$",
            smooth.descent,
            HALF,
        ),
        exponent_at_most(
            "the reciprocal of a run's least effective constant of descent in $m$",
            1 / smooth.constant.min("step", skipna=False),
            0,
            HALF_WAY,
        ),
        anyway(
            at_most(
                r"$\lVert W^{(k)}-W^{(0)}\rVert_F$ over $\sqrt{2k\eta(L_S(0)-L_S(k))}$, in runs of "
                "which every step descends",
                smooth.path.where((smooth.descent >= HALF).all("step"), 0),
                1 + ROUNDING,
            )
        ),
        note(
            "The layers' largest spectral distance is "
            f"{spread(smooth.spectral_path.max('looked').mean(('loss', 'width')), '.2f')} of that. "
            "With the hinge, whose slope jumps, a step takes "
            rf"{number(float(hinge.descent.min()), '.2f', 'down')} "
            r"$\eta\lVert\nabla L_S\rVert_F^2$ or more"
        ),
        outside=outside,
        holds="Every step descends by more than half of what a smooth loss would give, with an "
        "effective constant that does not fall with the width, and the iterates stay within the "
        "distance that follows",
        fails="A step descends by less, or the constant falls with the width, or iterates go "
        "farther than the steps allow.",
    )


def _sgd(found: xr.Dataset, outside: str) -> Verdict:
    return claim(
        "zou2018-lem5.6-7",
        r"for SGD, $\lVert W_l^{(k)}-W_l^{(0)}\rVert_2\le\tau$ while $k\eta=O(L^{-2}m^{-1/2}\tau)$ "
        r"if $\alpha_0<\infty$, and $\tilde O(L^{-2}n^{-1}Bm^{-1/2}\tau)$ if $\alpha_0=\infty$; "
        r"and a $k\eta$ of order $1/m$ reaches every loss",
        exponent_at_most(
            r"a run's largest $\lVert W_l^{(k)}-W_l^{(0)}\rVert_2$ over $\eta\sqrt m$ times the "
            r"sum of its batches' mean slopes $\lvert\ell'\rvert$, in $m$",
            found.sgd_rate.max("sgd_looked", skipna=False),
            0,
            HALF_WAY,
        ),
        exponent_at_most(
            r"the reciprocal of $\lVert W_l^{(k)}-W_l^{(0)}\rVert_2/k\eta$ in $B$, where "
            r"$\alpha_0=\infty$",
            1 / found.batch_per_time.sel(rule="squared-hinge").max("sgd_looked", skipna=False),
            1,
            0,
            "size",
        ),
        exponent_at_most(
            "the reciprocal of the effective constant of descent of a whole run in $m$",
            1 / found.sgd_constant,
            0,
            HALF_WAY,
        ),
        anyway(
            at_most(
                r"a layer's distance over $\eta$ times the sum of the largest gradients of an "
                "example",
                found.sgd_share,
                1 + ROUNDING,
            )
        ),
        outside=outside,
        holds=r"The distance of SGD grows with $k\eta\sqrt m$ at most, and no faster than $1/B$; "
        "and what a run takes off the loss does not fall behind the width",
        fails=r"The distance of SGD outgrows $k\eta\sqrt m$ or $1/B$, or what a run takes off the "
        "loss falls behind the width.",
    )


CONTROLS = {
    "zou2018-lem5.4-5": Lie(
        "every effective constant of descent is divided by the square root of the width",
        lambda settings, found: found.assign(constant=found.constant / found.width**0.5),
    ),
    "zou2018-lem5.6-7": Lie(
        r"every distance of SGD is multiplied by the square root of the width",
        lambda settings, found: found.assign(sgd_rate=found.sgd_rate * found.width**0.5),
    ),
}
