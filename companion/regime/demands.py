"""What every theorem of the four papers asks for, of given data: width, step size, iterations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from companion.base.arguments import positive, real, whole
from companion.bounds import chen2021, du2019, zou2018, zou2020
from companion.errors import InputError
from companion.losses import CROSS_ENTROPY, QUADRATIC, Loss, loss_of
from companion.regime.quantities import Quantities, proper_share

WORKS = {
    "du2019": "Du et al. (2019)",
    "zou2018": "Zou et al. (2018)",
    "zou2020": "Zou et al. (2020)",
    "chen2021": "Chen et al. (2021)",
}
# Below this angle two inputs are parallel to double precision.
_PARALLEL = 1e-7


@dataclass(frozen=True)
class Demand:
    """What a theorem asks for.

    Step sizes are of the mean loss and of the paper's own parameterisation. Where the constants
    are unknown, each number is one up to an unknown constant, and up to logarithms that the paper
    hides.

    Attributes:
        paper: its key, e.g. `du2019`.
        statement: e.g. `Theorem 4.1`.
        claim: the claim's id in the ledger.
        variant: what tells it from others of the same statement, in a word: `printed`, `proof`,
            `R`, `phi` or `sample`; else empty.
        route: by what the numbers were computed, in words.
        algorithm: `flow`, `descent`, `sgd` on one example at a time, or `none` of a statement
            that is about no training.
        width: m; infinite where no width is enough; None where the paper does not state its order.
        step_size: eta, or None for a flow.
        iterations: after which the accuracy is reached, or None for a flow.
        time: of a flow, on the mean loss; else None.
        explicit: whether the constants are known: those of the paper's own proof.
        unmet: the assumptions that these data, this depth or this loss do not meet, in words.
    """

    paper: str
    statement: str
    claim: str
    variant: str
    route: str
    algorithm: str
    width: float | None
    step_size: float | None
    iterations: float | None
    time: float | None
    explicit: bool
    unmet: tuple[str, ...]

    @property
    def work(self) -> str:
        """The paper as it is cited, e.g. `Du et al. (2019)`."""
        return WORKS[self.paper]

    @property
    def constants(self) -> str:
        """What is known of its constants, in words."""
        return "explicit" if self.explicit else "unknown, taken as 1"

    @property
    def inside(self) -> bool:
        """Whether data, depth and loss are such that the theorem speaks of them."""
        return not self.unmet and self.width is not None

    def shortfall(self, width: float) -> float | None:
        """How many times the width asked for is as large as a given one; None where unknown."""
        return None if self.width is None else self.width / width


def demands(
    found: Quantities,
    *,
    width: int | None = None,
    delta: float = 0.1,
    alpha: float = 0.5,
    loss: Loss | str | None = None,
) -> list[Demand]:
    """What the theorems of the four papers ask for, of data with these quantities.

    Depth and accuracy are those of the quantities, on which margin and radius hang. Of an interval
    the end is taken that asks for more.

    Args:
        found: of the data.
        width: m of the network at hand, at which step sizes are told; without it they are those
            at the width that the theorem asks for.
        delta: the failure probability, in (0, 1).
        alpha: the scaling exponent of Chen et al., in (0, 1/2].
        loss: that is trained with, or its name; a theorem on other losses says so. Without it
            every theorem is on a loss of its own: the quadratic one for Du et al., the
            cross-entropy for the others.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> x, y = sphere(count=6, dimension=3, seed=0).x, torch.tensor([1.0, -1.0]).repeat(3)
        >>> asked = demands(quantities(x, y), width=512)
        >>> asked[0].work, asked[0].constants
        ('Du et al. (2019)', 'unknown, taken as 1')
    """
    delta = proper_share("delta", delta)
    if not 0 < real("alpha", alpha) <= 0.5:
        raise InputError(f"alpha is {alpha:g}; it must lie in (0, 1/2].")
    width = None if width is None else whole("width", width, least=1)
    about = _About(found, width, delta, alpha, None if loss is None else loss_of(loss))
    return [*_du(about), *_zou_2018(about), _zou_2020(about), *_chen(about)]


@dataclass(frozen=True)
class _About:
    """The data, the network at hand, and what both lack for the theorems."""

    found: Quantities
    width: int | None
    delta: float
    alpha: float
    loss: Loss | None

    @property
    def size(self) -> tuple[int, int]:
        """N and D."""
        return self.found.count, self.found.depth

    def at(self, width: float | None) -> float | None:
        """The width at which a step size is told."""
        return width if self.width is None else float(self.width)

    def separated(self) -> list[str]:
        """What is unmet of phi > 0."""
        if self.found.cross_class.value > 0:
            return []
        i, j = self.found.cross_class.pair or (0, 0)
        return [f"inputs {i} and {j} are equal and have different labels, so phi = 0"]

    def margin_loss(self) -> list[str]:
        """What is unmet of a loss that falls with the margin."""
        if self.loss is None or self.loss.of_margin:
            return []
        return [f"it is on losses of the margin y f, and the {self.loss.name} loss is none"]

    def cross_entropy(self) -> list[str]:
        """What is unmet of the cross-entropy."""
        if self.loss is None or self.loss is CROSS_ENTROPY:
            return []
        return [f"it is on the cross-entropy, not on the {self.loss.name} loss"]

    def bias(self) -> list[str]:
        """What is unmet of the constant last coordinate."""
        if self.found.bias is not None:
            return []
        return ["the inputs have no constant last coordinate; with_bias puts one in"]


def _du(about: _About) -> list[Demand]:
    """Theorems 3.2 and 4.1: as they are printed, and with the constants of their proofs."""
    found, delta, unmet = about.found, about.delta, tuple(_unmet_by_du(about))
    n, least = found.count, found.lambda_0.lower

    def demand(statement: str, claim: str, explicit: bool, width: float) -> Demand:
        flow = statement == "Theorem 3.2"
        eta = steps = time = None
        if least > 0:
            # As the proof spends delta: one half on the misfit, by Markov's inequality. The mean
            # loss has a half that the sum of squares has not.
            ends = du2019.initial_misfit(n, n) / (delta / 2), 2 * n * found.accuracy
            if flow:
                time = n * du2019.theorem_3_2_time(least, *ends)
            else:
                of_proof = du2019.theorem_4_1_free_step_size
                eta = (of_proof if explicit else du2019.theorem_4_1_step_size)(n, least)
                steps = du2019.theorem_4_1_iterations(eta, least, *ends)
                eta *= n  # of the mean loss, where theirs is a sum
        route = "with the constants of its displayed proof"
        if not explicit:
            route = "n^6 / (lambda_0^4 delta^3), as printed"
        algorithm = "flow" if flow else "descent"
        return Demand(
            "du2019", statement, claim, "proof" if explicit else "printed", route, algorithm, width,
            eta, steps, time, explicit, unmet,
        )  # fmt: skip

    printed = flow_width = descent_width = math.inf
    if least > 0:
        printed = _large(lambda: du2019.printed_width(n, least, delta))
        flow_width, descent_width = (
            _large(partial(du2019.explicit_width, theorem, n, least, delta, n))
            for theorem in (du2019.theorem_3_2_width, du2019.theorem_4_1_width)
        )
    return [
        demand("Theorem 3.2", "du2019-thm3.2", False, printed),
        demand("Theorem 3.2", "du2019-width-explicit", True, flow_width),
        demand("Theorem 4.1", "du2019-thm4.1", False, printed),
        demand("Theorem 4.1", "du2019-width-explicit", True, descent_width),
    ]


def _unmet_by_du(about: _About) -> list[str]:
    found, unmet = about.found, []
    if found.depth != 1:
        unmet.append(f"it is on one hidden layer, and this network has {found.depth}")
    if about.loss is not None and about.loss is not QUADRATIC:
        unmet.append(f"it is on the quadratic loss, not on the {about.loss.name} loss")
    if found.angle.value <= _PARALLEL and found.angle.pair is not None:
        i, j = found.angle.pair
        unmet.append(f"inputs {i} and {j} are parallel, so that its Theorem 3.1 does not apply")
    if found.lambda_0.lower <= 0:
        unmet.append(
            "lambda_0 > 0 cannot be certified: it lies between "
            f"{found.lambda_0.lower:.3g} and {found.lambda_0.upper:.3g}"
        )
    return unmet


def _zou_2018(about: _About) -> list[Demand]:
    """Theorem 4.1 and, for SGD on single examples, Theorem 4.5."""
    n, depth = about.size
    phi, accuracy = about.found.cross_class.value, about.found.accuracy
    loss = about.loss if about.loss is not None and about.loss.of_margin else CROSS_ENTROPY
    unmet = [*about.separated(), *about.bias(), *about.margin_loss()]
    if loss.p is None or loss.alpha_0 is None:
        unmet.append(f"of the {loss.name} loss no constants of Assumption 3.2 are known")
        loss = CROSS_ENTROPY
    if loss.smoothness is None or loss.smoothness == math.inf:
        unmet.append(f"the {loss.name} loss is not smooth (Assumption 3.3)")
    powers = loss.constant("p"), loss.constant("alpha_0")
    # Width, step size, iterations.
    descent: tuple[float, float | None, float | None] = (math.inf, None, None)
    sgd = descent
    if phi > 0:
        width = _large(lambda: zou2018.theorem_4_1_width(n, depth, phi, accuracy, *powers))
        stochastic = _large(lambda: zou2018.theorem_4_5_width(n, depth, phi, accuracy, *powers))
        descent = (
            width,
            zou2018.lemma_5_4_step_size(n, about.at(width) or 1, depth, phi),
            zou2018.theorem_4_1_iterations(n, depth, phi, accuracy, *powers),
        )
        sgd = (
            stochastic,
            zou2018.lemma_5_7_step_size(n, about.at(stochastic) or 1, depth, phi, 1, powers[0]),
            zou2018.theorem_4_5_iterations(n, depth, phi, 1, accuracy, *powers),
        )
    route = "the powers of n, L, phi and eps that the proof comes to"
    return [
        Demand("zou2018", "Theorem 4.1", "zou2018-thm4.1", "", route, "descent", *descent, None,
               False, tuple(unmet)),
        Demand("zou2018", "Theorem 4.5", "zou2018-thm4.5", "", route, "sgd", *sgd, None,
               False, tuple(unmet)),
    ]  # fmt: skip


def _zou_2020(about: _About) -> Demand:
    """Theorem 4.4."""
    n, depth = about.size
    phi, accuracy = about.found.cross_class.value, about.found.accuracy
    unmet = (*about.separated(), *about.bias(), *about.cross_entropy())
    width, step_size, iterations = math.inf, None, None
    if phi > 0:
        width = _large(lambda: zou2020.theorem_4_4_width(n, depth, phi, accuracy))
        step_size = zou2020.theorem_4_4_step_size(about.at(width) or 1, depth)
        iterations = zou2020.theorem_4_4_iterations(n, depth, phi, accuracy)
    return Demand(
        "zou2020", "Theorem 4.4", "zou2020-thm4.4-width", "", "the powers that the theorem prints",
        "descent", width, step_size, iterations, None, False, unmet,
    )  # fmt: skip


def _chen(about: _About) -> list[Demand]:
    """Theorem 3.3 with the radius measured and by the separation, Theorem 3.8, Proposition 4.7."""
    found, delta, alpha = about.found, about.delta, about.alpha
    n, depth = about.size
    layers = depth + 1
    unmet = about.cross_entropy()
    radius = found.radius.upper
    fits = [] if math.isfinite(radius) else ["no radius R is large enough (Assumption 3.2)"]

    def descent(
        claim: str, variant: str, route: str, reach: float, width: float, lacking: list[str]
    ) -> Demand:
        at = about.at(width)
        usable = math.isfinite(reach) and at is not None and math.isfinite(at)
        return Demand(
            "chen2021", "Theorem 3.3", claim, variant, route, "descent", width,
            chen2021.theorem_3_3_step_size(at, layers, alpha) if usable and at else None,
            chen2021.theorem_3_3_iterations(layers, reach, found.accuracy) if usable else None,
            None, False, (*unmet, *lacking),
        )  # fmt: skip

    phi = found.cross_class.value
    separated = separated_width = math.inf
    if phi > 0:
        separated = chen2021.proposition_4_10_radius(n, phi, found.accuracy, delta)
        separated_width = _large(
            lambda: chen2021.theorem_3_3_width(separated, layers, alpha, n, delta)
        )
    width = math.inf
    if math.isfinite(radius):
        width = _large(lambda: chen2021.theorem_3_3_width(radius, layers, alpha, n, delta))
    told = [
        descent("chen2021-thm3.3-width", "R", "(6.4) with the R measured", radius, width, fits),
        descent("chen2021-prop4.10", "phi", "(6.4) with the R that phi gives by Proposition 4.10",
                separated, separated_width, about.separated()),
        _online(about, radius, layers, [*unmet, *fits]),
    ]  # fmt: skip
    return told if found.depth > 1 else [*told, _two_layers(about, unmet)]


def _online(about: _About, radius: float, layers: int, unmet: list[str]) -> Demand:
    """Theorem 3.8, one pass of SGD; of its width the paper says that it is a polynomial."""
    found = about.found
    step_size, samples = None, math.inf
    if math.isfinite(radius):
        samples = chen2021.theorem_3_8_samples(layers, radius, found.accuracy)
        if about.width is not None:
            step_size = chen2021.theorem_3_8_step_size(
                about.width, layers, about.alpha, radius, found.count, found.accuracy
            )
    if samples > found.count:
        unmet = [
            *unmet,
            f"one pass needs {samples:.3g} examples for its first term to be eps, of which there "
            f"are {found.count}",
        ]
    return Demand(
        "chen2021", "Theorem 3.8", "chen2021-thm3.8", "", "with the R measured; its width is a "
        "polynomial in R and L that the paper does not state", "sgd", None, step_size, samples,
        None, False, tuple(unmet),
    )  # fmt: skip


def _two_layers(about: _About, unmet: list[str]) -> Demand:
    """Proposition 4.7: the width from which on two layers have a radius like log(1 / eps)."""
    margin, width = about.found.field_margin, None
    if margin is not None:
        width = math.inf
        if margin.lower > 0:
            width = chen2021.proposition_4_7_width(about.found.count, margin.lower, about.delta)
    else:
        unmet = [*unmet, "the margin of Assumption 4.6 was not measured, as it costs too much"]
    return Demand(
        "chen2021", "Proposition 4.7", "chen2021-prop4.7", "sample",
        "32 log(n / delta) / gamma^2 with the margin of Assumption 4.6 over drawn directions, "
        "which may exceed that over all, for the radius alone", "none", width, None, None, None,
        True, tuple(unmet),
    )  # fmt: skip


def _large(power: Callable[[], float]) -> float:
    """A number that may be too large for one."""
    try:
        return positive("a width", power())
    except (OverflowError, InputError):
        return math.inf
