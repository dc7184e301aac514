"""What is promised: programs, peers, sizes, and the bound on every ratio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from companion.base.paths import PROJECT
from companion.errors import InputError, one_of

PROGRAMS = PROJECT / "benchmarks"
PEERS = PROJECT / ".venv-peers" / "bin" / "python"
GIB = 2**30

Case = Mapping[str, Any]
# What the bounds are for: a machine that does nothing else, one of whose cores another process
# keeps busy, or a processor that has, or is allowed, no AVX-512.
Condition = Literal["quiet", "busy", "no AVX-512"]
# How a time compares with the peer's: how often it goes into it, which share of the machine's best
# speed it reaches, or how much of the peer's time it takes.
Measure = Literal["speed-up", "share", "time"]


@dataclass(frozen=True)
class Program:
    """One side of a comparison.

    Attributes:
        path: below `benchmarks`, without `.py`.
        label: what it stands for, in the table and in the names of targets.
        in_peers: whether it runs in the peers' environment; then it knows no CUDA.
    """

    path: str
    label: str
    in_peers: bool = False


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        work: what is computed.
        ours: this project's program.
        peer: the program it is compared with.
        case: sizes and settings, the same for both.
        bound: least speed-up or share, most time; None where nothing is promised of time.
        measure: what the bound is on.
        memory: most bytes that our process may take.
    """

    work: str
    ours: Program
    peer: Program
    case: Case
    bound: float | None
    measure: Measure = "speed-up"
    memory: float | None = None

    @property
    def name(self) -> str:
        """What `--only` selects by, e.g. `gram-256-neural-tangents`."""
        return f"{self.work}-{self.case['n']}-{self.peer.label}"

    @property
    def sizes(self) -> str:
        """Of the case: inputs, dimension, width, depth, and how many networks."""
        sizes = ", ".join(str(self.case.get(name, "inf")) for name in ("n", "d", "m", "depth"))
        return f"{self.case['networks']} of {sizes}" if "networks" in self.case else sizes


GRAM = Program("ours/empirical_gram", "companion")
INFINITE = Program("ours/infinite_width", "companion")
STEP = Program("ours/step", "bare step")
RUN = Program("ours/step", "training run")
RECORDED = Program("ours/step_recorded", "companion")
FLEET = Program("ours/fleet", "bare fleet")
RECORDED_FLEET = Program("ours/fleet_recorded", "companion")
LEAST = Program("ours/least_eigenvalue", "companion")
OPERATOR = Program("ours/operator_ends", "companion")
MATRIX = Program("ours/matrix_formed", "whole matrix")
LINEARISED = Program("ours/linearised", "companion")
PRODUCT = Program("peers/torch_product", "best product")
TORCH_FUNC = Program("peers/torch_func_gram", "torch.func")
TORCH_STEP = Program("peers/torch_step", "torch.optim.SGD")
TORCH_FLEET = Program("peers/torch_fleet", "torch.optim.SGD")
EIGVALSH = Program("peers/torch_eigvalsh", "torch.linalg.eigvalsh")
JAX_STEP = Program("peers/jax_step", "jax.jit", in_peers=True)
TANGENTS = Program("peers/neural_tangents_gram", "neural-tangents", in_peers=True)
TANGENTS_INFINITE = Program("peers/neural_tangents_infinite", "neural-tangents", in_peers=True)

_GRAMS: list[Case] = [
    {"n": 256, "d": 784, "m": 512, "depth": 5},
    {"n": 512, "d": 784, "m": 256, "depth": 15},
    {"n": 1000, "d": 784, "m": 1000, "depth": 5},
    {"n": 2000, "d": 784, "m": 500, "depth": 5},
]
_LARGE_GRAM: Case = {"n": 9943, "d": 784, "m": 256, "depth": 15}
_INFINITE: list[Case] = [
    {"n": 512, "d": 784, "depth": 15},
    {"n": 2000, "d": 784, "depth": 5},
]
_STEPS: list[Case] = [
    {"n": n, "d": 784, "m": m, "depth": 15, "step_size": 1e-4, "steps": steps}
    for n, m, steps in [(2000, 500, 5), (9943, 256, 5), (4000, 1000, 3)]
]
# Five trained matrices: four hidden layers and the output weights.
_FLEETS: list[tuple[Case, float]] = [
    (
        {"networks": networks, "n": n, "d": 3072, "m": m, "depth": 4, "alpha": 0.5}
        | {"step_size": 1e-3, "steps": steps},
        bound,
    )
    for networks, n, m, steps, bound in [
        (40, 100, 8, 100, 30),
        (40, 1000, 12, 40, 10),
        (20, 10000, 24, 4, 4),
    ]
]
_RECORDED_FLEET: Case = {**_FLEETS[1][0], "networks": 60}
_LEAST: Case = {"n": 4000, "d": 784, "m": 500, "depth": 5}
_OPERATOR: Case = {"n": 20000, "d": 784, "m": 64, "depth": 2, "tolerance": 1e-4}
# The run is timed step by step, and compared with the prediction after a few steps: that of all
# 500 would take minutes.
_LINEARISED: Case = {
    **{"n": 2000, "d": 784, "m": 1024, "depth": 3},
    **{"step_size": 1e-4, "steps": 10, "horizon": 500},
}

# On a quiet machine whose processor has AVX-512.
TARGETS = (
    *(Target("gram", GRAM, TANGENTS, case, 2.5) for case in _GRAMS),
    *(Target("gram", GRAM, TORCH_FUNC, case, 500) for case in _GRAMS[:2]),
    *(Target("gram", GRAM, PRODUCT, case, None, "share") for case in _GRAMS),
    Target("gram", GRAM, PRODUCT, _LARGE_GRAM, 0.75, "share", memory=4 * GIB),
    *(Target("infinite", INFINITE, TANGENTS_INFINITE, case, 5) for case in _INFINITE),
    *(Target("step", STEP, TORCH_STEP, case, 1.8) for case in _STEPS),
    *(Target("step", STEP, JAX_STEP, case, 1.25) for case in _STEPS),
    *(Target("step", STEP, PRODUCT, case, None, "share") for case in _STEPS),
    *(Target("recorded", RECORDED, STEP, case, 1.05, "time") for case in _STEPS),
    *(Target("fleet", FLEET, TORCH_FLEET, case, bound) for case, bound in _FLEETS),
    Target("recorded-fleet", RECORDED_FLEET, FLEET, _RECORDED_FLEET, 1.5, "time"),
    Target("least", LEAST, EIGVALSH, _LEAST, 3),
    Target("operator", OPERATOR, MATRIX, _OPERATOR, None, "time", memory=GIB),
    Target("linearised", LINEARISED, RUN, _LINEARISED, 20),
)
# What is promised elsewhere, by work and peer; of all other rows nothing is.
ELSEWHERE: Mapping[Condition, Mapping[tuple[str, Program], float]] = {
    "busy": {
        ("gram", TANGENTS): 1,
        ("gram", TORCH_FUNC): 1,
        ("infinite", TANGENTS_INFINITE): 1,
        ("step", TORCH_STEP): 1,
        ("step", JAX_STEP): 1,
    },
    "no AVX-512": {
        ("gram", TANGENTS): 2.3,
        ("gram", PRODUCT): 0.5,
        ("infinite", TANGENTS_INFINITE): 5,
        ("step", JAX_STEP): 1.25,
        ("step", PRODUCT): 0.9,
    },
}


def promised(target: Target, condition: Condition) -> Target:
    """The target with the bounds that it has under a condition."""
    if condition == "quiet":
        return target
    bound = ELSEWHERE[condition].get((target.work, target.peer))
    return replace(target, bound=bound, memory=None if bound is None else target.memory)


def select(only: Sequence[str] = (), device: str = "cpu") -> list[Target]:
    """The targets to measure: whose names start with one of `only`, or all if it is empty.

    On cuda those beside a peer that knows no CUDA are left out.

    Raises:
        InputError: one of `only` begins no name, or a target needs the peers' environment and it is
            not here.
    """
    possible = [t for t in TARGETS if device == "cpu" or not t.peer.in_peers]
    names = [target.name for target in possible]
    for name in only:
        if not any(known.startswith(name) for known in names):
            one_of("benchmark", name, names)
    chosen = [t for t in possible if not only or t.name.startswith(tuple(only))]
    if any(target.peer.in_peers for target in chosen) and not PEERS.is_file():
        raise InputError(
            "the peers' environment .venv-peers is missing; 'make bench' creates it, or choose "
            "rows that need none with --only."
        )
    return chosen
