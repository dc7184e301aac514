"""On a GPU: the same numbers as on the CPU, the same bits twice, few waits, memory as said.

Skipped where torch sees none; with one, `python -m pytest tests/test_cuda.py` takes a minute.
"""

import warnings

import numpy as np
import pytest
import torch

from companion.datasets import random_labels, sphere
from companion.draws import Batches
from companion.fleets import fleet_memory, train_fleet
from companion.kernels import (
    empirical_gram,
    gram_memory,
    gram_operator,
    infinite_width_nngp,
    infinite_width_ntk,
    layer_grams,
)
from companion.kernels.infinite import infinite_width_memory
from companion.linearised import linearise
from companion.losses import CROSS_ENTROPY, LOSSES, QUADRATIC
from companion.matmul import using
from companion.monitors import (
    Distances,
    PatternDifference,
    certified_lambda_min,
    frobenius_distances,
    gradient_norms,
    gram_lambda_min,
    largest_loss,
    layer_gram_drifts,
    mean_loss,
    separations,
    training_error,
    unit_distances,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.ntrf import ntrf_margin, regression_radius, smallest_radius
from companion.regime.examination import examine
from companion.regression import KernelRegression
from companion.spectra import extreme_eigenvalues, least_eigenvalue, spectral_norm_bounds
from companion.training import (
    Adam,
    Checkpoint,
    Cosine,
    Momentum,
    Stop,
    descent,
    flow,
    train,
    training_memory,
)
from tests.oracles import NETWORKS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

COUNT, DIMENSION, WIDTH, STEPS = 120, 20, 48, 15
DATA = random_labels(sphere(COUNT, DIMENSION, 0), 0)
NEW = sphere(30, DIMENSION, 1).x
# Duplicates, antipodes and inputs of any norm.
ANY = (
    torch.cat([DATA.x, DATA.x[:3], -DATA.x[:3]])
    * torch.logspace(-9, 9, COUNT + 6).double()[:, None]
)
EVERY = pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)
MONITORS = {
    "loss": mean_loss, "largest": largest_loss, "error": training_error, "slopes": gradient_norms,
    "far": frobenius_distances, "units": unit_distances, "distances": Distances(),
    "pattern": PatternDifference(), "flips": PatternDifference("last"), "apart": separations,
    "least": gram_lambda_min, "drifts": layer_gram_drifts, "certified": certified_lambda_min,
    "own": lambda moment: moment.network.weights[0].norm(),
}  # fmt: skip
# Those of which no record waits for the device, and how often one of the others does.
WAITS = {
    **dict.fromkeys(("loss", "largest", "error", "slopes", "far", "units", "pattern", "own"), 0),
    "distances": 1, "apart": 2,
}  # fmt: skip
DESCENTS = {
    "descent": {},
    "subsets": {"batches": Batches(8, "subsets")},
    "epochs": {"batches": Batches(16)},
    "momentum": {"optimiser": Momentum()},
    "adam": {"optimiser": Adam(), "schedule": Cosine(STEPS), "step_size": 1e-3},
}
EACH_DESCENT = pytest.mark.parametrize("how", DESCENTS.values(), ids=DESCENTS)


def case(device, dtype=torch.float64, draw=draw_chen):
    network = draw(WIDTH, DIMENSION, 0, depth=3, dtype=dtype, device=device)
    data = DATA.to(dtype, device)
    return network, data.x, data.y


def trained(device, dtype=torch.float64, steps=STEPS, **options):
    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "record": MONITORS} | options
    return train(*case(device, dtype), steps=steps, **options)


def fleet(device, dtype=torch.float64, steps=STEPS, **options):
    _, x, y = case(device, dtype)
    networks = [
        draw_chen(8 + 4 * (k // 2), DIMENSION, k, depth=3, dtype=dtype, device=device)
        for k in range(4)
    ]
    options = {
        "loss": CROSS_ENTROPY, "step_size": [0.05, 1e5, 0.02, 0.05], "record": MONITORS,
        "batches": [Batches(8, seed=k) for k in range(4)], "stop": Stop(every=3),
    } | options  # fmt: skip
    return train_fleet(networks, x, y, steps=steps, **options)


def assert_alike(found, known, rtol=1e-10):
    """Numbers, tensors or arrays on any devices, relative to the largest of each."""
    for name, value in known.items():
        a, b = (
            torch.as_tensor(each).detach().cpu().double().nan_to_num(0, 0, 0)
            for each in (found[name], value)
        )
        torch.testing.assert_close(
            a, b, rtol=0, atol=rtol * float(b.abs().max()), msg=lambda told, name=name: name + told
        )


def assert_same_run(found, known, rtol=1e-10):
    assert (found.ending, found.steps) == (known.ending, known.steps)
    assert_alike(found.values, known.values, rtol)
    pairs = zip(found.network.parameters, known.network.parameters, strict=True)
    for a, b in pairs:
        assert_alike({"weights": a}, {"weights": b}, rtol)


def assert_same_bits(found, known):
    for name, values in known.values.items():
        assert np.array_equal(found[name], values, equal_nan=True), name
    pairs = zip(found.network.parameters, known.network.parameters, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def on_both(measure, **tolerances):
    """The same in float64 to rounding, and in float32 to single precision."""
    known = measure("cpu", torch.float64)
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 5e-4)):
        assert_alike(measure("cuda", dtype), known, tolerances.get(str(dtype)[6:], rtol))


@EVERY
def test_networks_and_kernels_of_networks(draw):
    def measure(device, dtype):
        network, x, y = case(device, dtype, draw)
        other, gram = NEW.to(x), empirical_gram(network, x)
        assert torch.equal(gram, gram.mT)
        found = {
            "predictions": network.predict(x), "gram": gram,
            "cross": empirical_gram(network, x, other),
            "in small tiles": empirical_gram(network, x, memory_budget=1.2 * gram.nbytes + 2e5),
            "into an array": empirical_gram(network, x, out=np.empty(gram.shape, str(dtype)[6:])),
            "times": gram_operator(network, x).times(x),
            "largest": extreme_eigenvalues(gram_operator(network, x)).largest.value,
            "norm": spectral_norm_bounds(gram).upper,
            "least": least_eigenvalue(gram + gram.mean() * torch.eye(COUNT).to(gram)).value,
        }  # fmt: skip
        found |= {f"layer {k}": term for k, term in enumerate(layer_grams(network, x))}
        for name, loss in LOSSES.items():
            moment = next(iter(descent(network, x, y, loss=loss, step_size=1)))
            found |= {f"{name} {k}": slope for k, slope in enumerate(moment.gradients)}
        return found

    on_both(measure, float32=2e-2)  # a unit near 0 may be on here and off there


@pytest.mark.parametrize("depth", [1, 2, 5, 15])
def test_kernels_of_infinite_width(depth):
    def measure(device, dtype):
        x, found = ANY.to(device, dtype), {}
        sizes = x.double().norm(dim=1)
        for name in ("du", "zou", "chen"):
            for kernel in (infinite_width_ntk, infinite_width_nngp):
                matrix = kernel(x, depth=depth, parameterisation=name)
                assert torch.equal(matrix, matrix.mT)
                found[f"{name} {kernel.__name__}"] = matrix / sizes / sizes[:, None]
        return found

    on_both(measure)


@EACH_DESCENT
def test_training(how):
    assert_same_run(trained("cuda", **how), trained("cpu", **how), 1e-8)
    assert_same_run(
        trained("cuda", torch.float32, record={"loss": mean_loss}, **how),
        trained("cpu", record={"loss": mean_loss}, **how),
        1e-3,
    )


def test_fleets_and_flows():
    sizes = [0.05, 0.01, 0.02, 0.05]  # all stable: eigenvalues of huge matrices are rounding
    # The Gram matrix of so narrow a network is singular: its least eigenvalue is rounding.
    record = {name: MONITORS[name] for name in MONITORS if name not in ("least", "certified")}
    runs = (fleet(device, step_size=sizes, record=record) for device in ("cuda", "cpu"))
    for found, known in zip(*runs, strict=True):
        assert_same_run(found, known, 1e-8)
    options = {"loss": QUADRATIC, "times": [0, 1, 3], "record": {"loss": mean_loss}}
    found, known = (
        flow(draw_du(WIDTH, DIMENSION, 0, dtype=torch.float64, device=device), x, y, **options)
        for device, (_, x, y) in ((device, case(device)) for device in ("cuda", "cpu"))
    )
    assert_same_run(found, known, 1e-6)


def test_optima_are_where_their_labels_are_and_their_parameters_too():
    def found(device):
        network, x, y = case(device)
        forward, grams = network.run(x), layer_grams(network, x)
        optima = {
            "radius": smallest_radius(grams, forward.predictions, y, 0.1),
            "margin": ntrf_margin(sum(grams), y),
            "regression": regression_radius(sum(grams), y - forward.predictions),
        }
        assert {each.dual.device for each in optima.values()} == {y.device}
        moves = {
            f"parameters of the {name}": network.gradients(forward, each.coefficients[0])[0]
            for name, each in optima.items()
        }
        return moves | {name: torch.tensor(each.value) for name, each in optima.items()}

    # The solver finds a value to 1e-9, and the parameters to the root of that.
    assert_alike(found("cuda"), found("cpu"), 1e-4)


@pytest.mark.parametrize("loss", [QUADRATIC, CROSS_ENTROPY], ids=lambda loss: loss.name)
@pytest.mark.parametrize("kernel", ["empirical", "infinite"])
def test_predictions_of_training(loss, kernel):
    def measure(device, dtype):
        network, x, y = case(device, dtype, draw_zou)
        found = linearise(
            network, x, y, loss=loss, step_size=0.1 / WIDTH, steps=20, kernel=kernel,
            test=NEW.to(x), measured=True,
        )  # fmt: skip
        model = KernelRegression("ntk", depth=2, ridge=0.1).fit(x, y)
        return {
            "predictions": found.predictions, "distance": found.distance,
            "elsewhere": found.test_predictions, "measured": found.measured.predictions,
            "regression": model.predict(NEW.to(x)),
        }  # fmt: skip

    on_both(measure)


def test_the_regime_of_a_network():
    def report(device):
        x, y = DATA.x.to(device), DATA.y.to(device)
        return examine(x, y, width=WIDTH, depth=2, loss="quadratic", steps=STEPS)

    found, known = report("cuda"), report("cpu")
    assert (found.run.device, known.run.device) == ("cuda:0", "cpu")
    assert found.quantities == known.quantities
    # What the tangent misses is a small difference of predictions in float32.
    for ours, other in ((found.departure, known.departure), (found.curves, known.curves)):
        for name, value in vars(other).items():
            assert getattr(ours, name) == pytest.approx(value, rel=1e-2, abs=1e-5), name
    assert found.curves.predicted == pytest.approx(known.curves.predicted, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@EACH_DESCENT
def test_runs_repeat_themselves_and_go_on_from_a_file_bit_for_bit(how, dtype, tmp_path):
    known = trained("cuda", dtype, **how)
    assert_same_bits(trained("cuda", dtype, **how), known)
    file = Checkpoint(tmp_path / "run.npz", 0)
    trained("cuda", dtype, 7, checkpoint=file, **how)
    assert_same_bits(trained("cuda", dtype, checkpoint=file, **how), known)


def test_fleets_repeat_themselves_and_go_on_from_a_file_bit_for_bit(tmp_path):
    file = Checkpoint(tmp_path / "fleet.npz", 0)
    fleet("cuda", steps=7, checkpoint=file)
    runs = fleet("cuda"), fleet("cuda"), fleet("cuda", checkpoint=file)
    for known, again, on in zip(*runs, strict=True):
        assert_same_bits(again, known)
        assert_same_bits(on, known)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_from_the_file_of_another_device(first, then, tmp_path):
    file = Checkpoint(tmp_path / "run.npz", 0)
    trained(first, steps=7, checkpoint=file)
    found = trained(then, checkpoint=file)
    assert found.network.outputs.device.type == then
    assert_same_run(found, trained("cpu"), 1e-8)


def waits_of_a_step(run):
    """How often a step more makes the CPU wait for the GPU."""
    counted = []
    for steps in (4, 4, 14):  # the first makes ready what is made once
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run(steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counted.append(sum("synchroniz" in str(each.message) for each in seen))
    return (counted[2] - counted[1]) / 10


@EACH_DESCENT
def test_a_step_waits_for_the_device_once_and_without_a_stop_never(how):
    for stop, waits in ((None, 0), (Stop(every=1), 1), (Stop(every=5), 0.2)):

        def run(steps, stop=stop):
            trained("cuda", steps=steps, stop=stop, record={}, **how)

        assert waits_of_a_step(run) == waits


@pytest.mark.parametrize("name", WAITS)
def test_records_wait_as_seldom_as_they_say(name):
    def run(steps):
        trained("cuda", steps=steps, stop=None, record={name: MONITORS[name]})

    assert waits_of_a_step(run) == WAITS[name]


def test_a_step_of_a_fleet_waits_once_whatever_it_records():
    together = {"loss": mean_loss, "pattern": PatternDifference(), "far": frobenius_distances}
    for stop, waits in ((None, 0), (Stop(every=1), 1)):

        def run(steps, stop=stop):
            fleet("cuda", steps=steps, stop=stop, step_size=1e-3, record=together)

        assert waits_of_a_step(run) == 2 * waits  # there are two shapes


def taken(work):
    """Bytes that it takes on the GPU at most, with its result."""
    work()  # the libraries' own memory is taken once
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = work()
    torch.cuda.synchronize()
    del found
    return torch.cuda.max_memory_allocated() - before


def test_memory_is_as_said():
    x = sphere(5000, 100, 0).x.to("cuda", torch.float32)
    y, network = x[:, 0].sign(), draw_chen(128, 100, 0, depth=4, device="cuda")
    nets = [draw_chen(24, 100, k, depth=4, device="cuda") for k in range(10)]
    options = {"loss": CROSS_ENTROPY, "step_size": 1e-3, "steps": 3}
    duplicates, budget = x[:1].expand(3000, -1).contiguous(), 1.2 * 4 * len(x) ** 2
    works = [
        (gram_memory(network, len(x)), lambda: empirical_gram(network, x)),
        (budget, lambda: empirical_gram(network, x, memory_budget=budget)),
        (infinite_width_memory(x), lambda: infinite_width_ntk(x, depth=3)),
        (infinite_width_memory(duplicates), lambda: infinite_width_ntk(duplicates, depth=3)),
        (budget, lambda: infinite_width_ntk(x, depth=3, memory_budget=budget)),
        (training_memory(network, len(x)), lambda: train(network, x, y, **options)),
        (fleet_memory(nets, len(x), 100), lambda: train_fleet(nets, x, y, **options)),
    ]
    for said, work in works:
        assert taken(work) <= 1.03 * said + 2**20  # blocks are rounded up


def test_a_lower_precision_is_named_and_left_again():
    network, x, _ = case("cuda", torch.float32)
    exact = empirical_gram(*case("cpu")[:2])
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        with using(precision=precision):
            gram = empirical_gram(network, x).cpu().double()
        found[precision] = float((gram - exact).norm() / exact.norm())
    assert found["float32"] < 1e-5 < 1e-4 < found["tf32"] < found["bfloat16"] < 0.2
    again = empirical_gram(network, x).cpu().double()
    assert float((again - exact).norm() / exact.norm()) == found["float32"]
