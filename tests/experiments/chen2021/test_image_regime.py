"""Margins, radii and class values by SciPy in the primal, the search by torch's own descent."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize
from sklearn.svm import SVC

from companion.datasets import DataSet, random_labels
from companion.draws import independent_seed
from companion.errors import InputError, MissingDataError
from companion.experiments.chen2021 import image_regime
from companion.experiments.chen2021._images import ImageSettings, chosen, held_out, pool_of
from companion.images import mnist
from companion.lab.controls import with_controls
from companion.networks import ReLUNetwork, draw_chen
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

# At alpha = 1/4 predictions at initialisation count less, and radii are those of other powers.
TINY = image_regime.QUICK.override(
    {"counts": [4, 6, 8], "widths": [6, 12], "layers": 3, "seeds": 2, "alpha": 0.25, "pool": 20,
     "radii": [1, 3], "steps": 40, "runs": 20, "at_once": 10, "allowed": [2, 24]}
)  # fmt: skip
judged = partial(outcomes, image_regime, TINY)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return image_regime.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found: xr.Dataset) -> xr.Dataset:
    """What a tiny run leaves open is written into it."""
    by_labels, rising = np.array([1.0, 0.5]), np.array([1.0, 1.5, 2.0])[:, None]
    return doctored(
        found,
        margin=(by_labels[:, None] * np.array([0.1, 1.0])),
        margin_above=0.2,
        radius=rising / by_labels,
        class_value=0.1 / by_labels[:, None],
        found_width=np.array([6.0, 6.5, 7.0]),
        found_low=np.array([5.0, 5.5, 6.0]),
        found_high=np.array([7.0, 7.5, 8.0]),
    )


def case(seed: int, count: int, labels: str, width: int) -> tuple[ReLUNetwork, DataSet]:
    """The problem drawn by hand: images, labels, a network."""
    data = chosen(mnist(per_class=20), count, seed)
    if labels == "random":
        data = random_labels(data, seed)
    own = independent_seed(seed, count, 784, 3, width)
    return draw_chen(width, 784, own, depth=2, alpha=0.25, dtype=torch.float64), data


def factors(network: ReLUNetwork, data: DataSet) -> list[np.ndarray]:
    """A_l with A_l A_l^T = K^(l) / m^(2 alpha), from gradients by automatic differentiation."""
    formula = partial(chen_predictions, alpha=0.25)
    rows = deep_jacobians(network, data.x, formula)
    scale = network.widths[0] ** 0.25
    return [np.linalg.qr(part.numpy().T)[1].T / scale for part in rows]


@pytest.mark.parametrize(("labels", "width"), [("true", 12), ("random", 12), ("true", 6)])
def test_the_margin_is_that_of_a_support_vector_machine(
    found: xr.Dataset, labels: str, width: int
) -> None:
    network, data = case(1, 6, labels, width)
    rows = np.hstack(factors(network, data))
    one = found.sel(seed=1, count=6, labels=labels, width=width)
    if float(one.margin_above) == 0:
        assert (np.linalg.norm(rows, axis=1) == 0).any() == (int(one.silent) > 0)
        return
    # SVC has a bias. It vanishes for data together with their mirror images.
    machine = SVC(kernel="linear", C=1e12, tol=1e-10)
    machine.fit(np.vstack([rows, -rows]), np.concatenate([data.y, -data.y]))
    assert float(one.margin) == pytest.approx(1 / np.linalg.norm(machine.coef_), rel=1e-5)
    assert float(one.margin) <= float(one.margin_above)


def in_the_primal(
    network: ReLUNetwork, data: DataSet
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Margins of a member of the class, a function of its coordinates, and how many there are."""
    parts, y = factors(network, data), data.y.numpy()
    start = network.predict(data.x).numpy()
    sizes = [part.shape[1] for part in parts]

    def margins(u: np.ndarray) -> np.ndarray:
        pieces = np.split(u, np.cumsum(sizes)[:-1])
        moved = sum(part @ piece for part, piece in zip(parts, pieces, strict=True))
        return np.asarray(y * (start + moved))

    return margins, len(sizes)


def norms(u: np.ndarray, layers: int) -> np.ndarray:
    return np.array([piece @ piece for piece in np.split(u, layers)])


@pytest.mark.parametrize("labels", image_regime.LABELS)
def test_the_radius_is_the_least_in_the_primal(found: xr.Dataset, labels: str) -> None:
    network, data = case(1, 6, labels, 12)
    margins, layers = in_the_primal(network, data)
    target = -math.log(math.exp(TINY.epsilon / 2) - 1)
    known = minimize(
        lambda v: v[-1],
        np.append(np.zeros(layers * 6), 5.0),
        method="SLSQP",
        bounds=[(None, None)] * (layers * 6) + [(0, None)],
        constraints=[
            {"type": "ineq", "fun": lambda v: margins(v[:-1]) - target},
            {"type": "ineq", "fun": lambda v: v[-1] ** 2 - norms(v[:-1], layers)},
        ],
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    one = found.sel(seed=1, count=6, labels=labels)
    assert float(one.radius) == pytest.approx(known.fun, rel=1e-4)
    assert float(one.radius_below) <= float(one.radius)


@pytest.mark.parametrize("labels", image_regime.LABELS)
def test_the_class_value_is_the_least_in_the_primal(found: xr.Dataset, labels: str) -> None:
    network, data = case(0, 8, labels, 12)
    margins, layers = in_the_primal(network, data)
    for place, radius in enumerate(TINY.radii):
        known = minimize(
            lambda u: np.log1p(np.exp(-margins(u))).mean(),
            np.zeros(layers * 8),
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda u, r=radius: r**2 - norms(u, layers)},
            options={"maxiter": 1000, "ftol": 1e-12},
        )
        value = float(found.sel(seed=0, labels=labels).class_value[place])
        assert value == pytest.approx(known.fun, rel=1e-3)


@pytest.mark.parametrize("times", [2.0, 1 / 3])
def test_the_search_finds_where_torch_succeeds(found: xr.Dataset, times: float) -> None:
    one = found.sel(labels="true", count=8)
    end = float(one.found_high if times > 1 else one.found_low)
    width = max(1, round(times * end))
    data = chosen(mnist(per_class=20), 8, TINY.first_seed)
    successes = 0
    for seed in range(6):
        network = draw_chen(width, 784, 1000 + seed, depth=2, alpha=0.25, dtype=torch.float64)
        leaves = [p.clone().requires_grad_() for p in (*network.weights, network.outputs)]
        optimiser = torch.optim.SGD(leaves, lr=TINY.step_size / width**0.5)
        for _ in range(TINY.steps + 1):
            margins = data.y * chen_predictions(leaves[:-1], leaves[-1], data.x, 0.25)
            if bool((margins > 0).all()):
                successes += 1
                break
            optimiser.zero_grad()
            torch.log1p(torch.exp(-margins)).mean().backward()
            optimiser.step()
    assert successes > 3 if times > 1 else successes < 3


def test_the_width_asked_for_is_the_formula() -> None:
    radius = xr.DataArray([2.0, 3.0], {"count": [10, 20]}, dims="count")
    told = image_regime.asked_width(image_regime.QUICK, radius)
    by_hand = [(r**4 * 5.0**11) ** 2 * math.log(n / 0.1) ** (4 / 3) for r, n in ((2, 10), (3, 20))]
    np.testing.assert_allclose(told, by_hand, rtol=1e-12)


def rows(data: DataSet) -> set[tuple[float, ...]]:
    return {tuple(row.tolist()) for row in data.x}


def test_training_sets_are_nested_balanced_and_without_what_is_held_out() -> None:
    settings = ImageSettings()
    pool = pool_of(settings)
    small, large = chosen(pool, 20, 3), chosen(pool, 80, 3)
    assert rows(small) < rows(large) <= rows(pool)
    assert float(large.y.sum()) == 0
    assert len(rows(large)) == 80
    test = held_out(settings)
    assert len(test.x) == 500
    assert float(test.y.sum()) == 0
    assert not rows(test) & rows(pool)
    assert rows(chosen(pool, 20, 4)) != rows(small)


def test_photographs_are_of_the_two_classes_and_held_out_from_another_batch() -> None:
    settings = ImageSettings(dataset="cifar10", against="dog", pool=30, held_out=20)
    try:
        pool, test = pool_of(settings), held_out(settings)
    except MissingDataError as missing:
        pytest.skip(str(missing))
    assert (len(pool.x), len(test.x)) == (60, 40)
    assert "cat and dog" in pool.source
    assert "batch5" in test.source
    assert not rows(test) & rows(pool)


def test_more_images_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match="digit"):
        pool_of(ImageSettings(pool=100_000))


def test_the_verdicts_can_be_what_is_expected(settled: xr.Dataset) -> None:
    assert judged(settled) == image_regime.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("margin", {"margin": lambda a: a[:, :, ::-1]}),
        ("margin", {"radius": lambda a: a[..., ::-1]}),
        ("margin", {"class_value": lambda a: a[:, ::-1]}),
        ("width", {"margin": lambda a: a[..., ::-1]}),
        ("width", {"found_high": lambda a: a * [1, 1, 1e7]}),
        ("width", {"found_high": 1e40}),
        ("width", {"radius": 2.0}),
    ],
)
def test_a_claim_fails_where_it_is_not_so(settled: xr.Dataset, claim: str, lie: dict) -> None:
    assert judged(settled, **lie)[f"chen2021-regime-{claim}"] == "fails"


def test_a_search_without_an_end_leaves_the_widths_open(settled: xr.Dataset) -> None:
    told = judged(settled, found_low=math.nan, found_high=math.nan)
    assert told["chen2021-regime-width"] == "inconclusive"
    assert judged(settled, margin=math.nan)["chen2021-regime-margin"] == "inconclusive"


def test_an_open_width_is_told_as_such(settled: xr.Dataset) -> None:
    lost = doctored(settled, found_width=math.nan)
    assert image_regime.values(TINY, lost)["found_true_0"] == "open (5.0 to 7.0)"
    beyond = doctored(lost, found_high=math.inf)
    assert image_regime.values(TINY, beyond)["found_true_0"] == "more than 5"


def test_the_judge_sees_the_lies_of_its_cards(settled: xr.Dataset) -> None:
    verdicts = image_regime.judge(TINY, settled)
    told = with_controls(verdicts, image_regime.CONTROLS, TINY, settled, image_regime.judge)
    assert {v.control.outcome for v in told if v.control} == {"fails"}
