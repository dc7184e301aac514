"""What a step does with the gradient, and how its size changes along a run.

Plain descent is what the papers analyse. The others are what one trains with in practice: beside
them it shows what of a result is the optimiser's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from companion.base.arguments import positive, real, whole
from companion.errors import InputError

# The factor of the step size at step 0, 1, 2, ...
Schedule = Callable[[int], float]


@runtime_checkable
class Optimiser(Protocol):
    """One rule of descent, for one network or a fleet.

    Attributes:
        copies: how many tensors of a parameter's size it keeps from one step to the next.
        linear: whether its steps are sums of gradients, the same in all coordinates.
    """

    copies: ClassVar[int]
    linear: ClassVar[bool]

    def step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        kept: Sequence[Tensor],
        size: float | Tensor,
        number: int,
    ) -> None:
        """Move one trained tensor, in place.

        Args:
            parameter: one of a network's, or of a fleet's with its members as the first dimension.
            gradient: of the mean loss in it, of the same shape. It may be overwritten.
            kept: its `copies` tensors, of the same shape, 0 before the first step.
            size: eta, or one for every member, shape (F,).
            number: of the step, 0 at first.
        """


@dataclass(frozen=True)
class GradientDescent:
    """W <- W - eta g."""

    copies: ClassVar[int] = 0
    linear: ClassVar[bool] = True

    def step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        kept: Sequence[Tensor],
        size: float | Tensor,
        number: int,
    ) -> None:
        """See `Optimiser.step`."""
        _move(parameter, gradient, size)


@dataclass(frozen=True)
class Momentum:
    """v <- beta v + g, W <- W - eta v: heavy ball; with `nesterov` W <- W - eta (g + beta v).

    As `torch.optim.SGD` with `momentum=beta` has it.

    Raises:
        InputError: beta outside [0, 1).
    """

    beta: float = 0.9
    nesterov: bool = False
    copies: ClassVar[int] = 1
    linear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _share("beta", self.beta))

    def step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        kept: Sequence[Tensor],
        size: float | Tensor,
        number: int,
    ) -> None:
        """See `Optimiser.step`."""
        (velocity,) = kept
        velocity.mul_(self.beta).add_(gradient)
        towards = gradient.add_(velocity, alpha=self.beta) if self.nesterov else velocity
        _move(parameter, towards, size)


@dataclass(frozen=True)
class Adam:
    """Adam, Kingma and Ba (2015), Algorithm 1, as `torch.optim.Adam` has it.

    m and v are running means of g and g^2 with the weights beta_1 and beta_2, corrected for their
    start at 0; W <- W - eta m / (sqrt(v) + epsilon).

    Raises:
        InputError: a beta outside [0, 1), or an epsilon that is not positive.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    copies: ClassVar[int] = 2
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("beta_1", "beta_2"):
            object.__setattr__(self, name, _share(name, getattr(self, name)))
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))

    def step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        kept: Sequence[Tensor],
        size: float | Tensor,
        number: int,
    ) -> None:
        """See `Optimiser.step`."""
        mean, square = kept
        first, second = 1 - self.beta_1 ** (number + 1), 1 - self.beta_2 ** (number + 1)
        mean.lerp_(gradient, 1 - self.beta_1)
        square.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
        deviation = (square / second).sqrt_().add_(self.epsilon)
        _move(parameter, torch.div(mean, deviation, out=deviation), size / first)


def _move(parameter: Tensor, towards: Tensor, size: float | Tensor) -> None:
    """`parameter` less eta times `towards`, in place."""
    if isinstance(size, Tensor):
        each = size.view(-1, *[1] * (parameter.dim() - 1))
        parameter.addcmul_(each, towards, value=-1)
    else:
        parameter.sub_(towards, alpha=size)


def _share(name: str, value: object) -> float:
    number = real(name, value)
    if not 0 <= number < 1:
        raise InputError(f"{name} is {number}; it must lie in [0, 1).")
    return number


GRADIENT_DESCENT = GradientDescent()


@dataclass(frozen=True)
class StepDecay:
    """The step size is multiplied with `factor` after every `every` steps.

    Raises:
        InputError: `every` below 1, or a factor that is not positive.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", whole("every", self.every, least=1))
        object.__setattr__(self, "factor", positive("factor", self.factor))

    def __call__(self, step: int) -> float:
        """The factor at that step."""
        return float(self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine:
    """From 1 down to `least` along half a cosine in `steps` steps, and `least` from there on.

    Raises:
        InputError: `steps` below 1, or `least` outside [0, 1).
    """

    steps: int
    least: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole("steps", self.steps, least=1))
        object.__setattr__(self, "least", _share("least", self.least))

    def __call__(self, step: int) -> float:
        """The factor at that step."""
        done = min(step / self.steps, 1.0)
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Warmup:
    """From 1 / steps up to 1 in `steps` steps, and then what `after` says, from its own start.

    Raises:
        InputError: `steps` below 1.
    """

    steps: int
    after: Schedule | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole("steps", self.steps, least=1))

    def __call__(self, step: int) -> float:
        """The factor at that step."""
        if step < self.steps:
            return (step + 1) / self.steps
        return 1.0 if self.after is None else self.after(step - self.steps)
