"""What experiments say they cost, beside what torch counts while they run."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from companion.errors import MissingDataError
from companion.lab import catalog
from companion.lab.experiment import load
from companion.matmul import using
from tests.modes import Work

# An estimate made before anything runs may be off by so much, and by no more.
FACTOR = 3.0
# Settings at which a run takes seconds and matrix products are most of its work: torch counts no
# eigenvalue problems, and nothing that NumPy and SciPy do.
SMALL: dict[str, dict[str, object]] = {
    "chen2021/figure1": {"counts": [100, 200], "seeds": 6, "rounds": 1, "epochs": 40},
    "chen2021/figure1_sensitivity": {"seeds": 2, "epochs": 20},
    "chen2021/initialization": {"seeds": 1, "draws": 5},
    "chen2021/linearisation": {"seeds": 1, "draws": 1},
    "chen2021/setting": {"seeds": 1, "draws": 5, "widths": [64, 128]},
    "chen2021/descent_lemma": {"seeds": 1, "count": 6, "epsilon": 0.6, "widths": [24, 48, 96]},
    "chen2021/gradient_descent": {"seeds": 1},
    "chen2021/ji_telgarsky": {"seeds": 1},
    "chen2021/margin": {"seeds": 1},
    "chen2021/ntrf": {"seeds": 1},
    "chen2021/class_separation": {"seeds": 1, "width": 1024},
    "chen2021/one_layer": {"seeds": 2},
    "chen2021/table1": {
        "seeds": 1,
        "steps": 300,
        "accuracies": [0.3, 0.25, 0.2],
        "samples": [64, 96, 128],
        "tests": 200,
    },
    "chen2021/widths_compared": {"seeds": 1, "counts": [10, 15, 20], "widths": [8, 16, 32]},
    "chen2021/digits": {"seeds": 1, "counts": [50, 100, 200], "each": 4},
    "chen2021/generalisation": {"seeds": 1},
    "chen2021/martingale": {"seeds": 1, "runs": 100},
    "chen2021/sgd": {"seeds": 2},
    "chen2021/image_regime": {"seeds": 1, "runs": 20, "steps": 20},
    "chen2021/image_runs": {"seeds": 1, "steps": 10},
    "compare/widths": {
        "seeds": 1,
        "subset": 40,
        "counts": [10, 20, 40],
        "runs": 1,
        "epochs": 20,
    },
    "du2019/deep_gram": {"seeds": 1, "steps": 10, "widths": [64, 128, 256]},
    "du2019/explicit_width": {"spheres": [10, 30], "digits_per_class": 10, "seeds": 1},
    "du2019/figure1": {"count": 200, "dimension": 200, "widths": [200, 400, 800], "steps": 40},
    "du2019/gradient": {"seeds": 1, "widths": [100, 300, 1000]},
    "du2019/gradient_flow": {
        "seeds": 1,
        "widths": [100, 200, 400],
        "horizon": 1,
        "points": 7,
        "tolerance": 1e-3,
    },
    "du2019/gram_stability": {"seeds": 1, "width": 8192},
    "du2019/initialization": {"trials": 2, "seeds": 1, "misfit_networks": 20},
    "du2019/joint_training": {
        "seeds": 1,
        "draws": 3,
        "widths": [100, 200, 400],
        "horizon": 1,
        "points": 9,
        "tolerance": 1e-3,
    },
    "du2019/linear_rate": {"seeds": 1, "widths": [100, 400, 1600]},
    "du2019/output_layer": {"seeds": 1, "steps": 30, "widths": [4, 15, 60, 250, 2000]},
    "du2019/positivity": {"seeds": 1, "counts": [10, 32, 100], "dimensions": [1000, 3000, 9000]},
    "du2019/proof_budget": {"seeds": 1, "widths": [500, 1000, 2000], "steps": 20},
    "du2019/real_digits": {"seeds": 1, "per_class": 50, "widths": [250, 500, 1000], "steps": 20},
    "du2019/sliding_units": {"seeds": 1, "widths": [50, 100, 200], "windows": [3, 6, 12]},
    "du2019/step_size": {
        "seeds": 1,
        "widths": [250, 500, 1000],
        "counts": [10, 20, 40],
        "resolution": 0.1,
    },
    "zou2018/gradient_bounds": {"seeds": 1},
    "zou2018/gradient_nodes": {"seeds": 2},
    "zou2018/initialization": {"seeds": 10, "matrices": 2},
    "zou2018/loss_decay": {"seeds": 1, "steps": 200},
    "zou2018/minibatches": {"seeds": 1, "width": 128, "draws": 100},
    "zou2018/perturbation": {"seeds": 1},
    "zou2018/products": {"seeds": 2},
    "zou2018/separation": {"seeds": 2},
    "zou2018/setting": {"seeds": 1, "widths": [128, 256]},
    "zou2018/sgd": {"seeds": 1, "runs": 1, "steps": 100},
    "zou2018/trajectories": {"seeds": 1, "widths": [96, 192, 384]},
    "zou2018/worst_case": {"seeds": 2},
    "zou2020/convergence": {"seeds": 1},
    "zou2020/data": {},
    "zou2020/figure1": {"seeds": 1, "steps": 20},
    "zou2020/figure1_cifar10": {"seeds": 1, "steps": 20},
    "zou2020/initialization": {"seeds": 2},
    "zou2020/proof": {
        "seeds": 1,
        "draws": 8,
        "widths": [96, 192, 384],
        "depths": [2, 3, 5],
        "steps": 10,
        "edge_steps": 3,
    },
    "zou2020/setting": {"seeds": 1},
    "zou2020/telescoping": {"seeds": 1},
    "engines/precision": {"seeds": 3, "steps": 10},
    "engines/predictions": {"seeds": 1, "steps": 30},
}
# One reads a file, the others multiply hardly any matrices.
UNCOUNTED = {
    "engines/speed", "zou2018/data_separation", "zou2018/elementary", "zou2018/losses",
    "zou2018/polynomials", "zou2020/comparison",
}  # fmt: skip


def test_every_experiment_that_computes_is_here() -> None:
    assert set(catalog.experiments()) - set(SMALL) == UNCOUNTED


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_cost_is_about_what_torch_counts(name: str) -> None:
    experiment = load(name)
    settings = experiment.QUICK.override(SMALL[name])
    with using("torch"), Work() as work:
        try:
            experiment.run(settings, "cpu")
        except MissingDataError as missing:
            pytest.skip(str(missing))
    told = experiment.cost(settings)
    assert 1 / FACTOR < told.flops / work.flops < FACTOR
    assert 1 / FACTOR < told.bytes / work.peak < FACTOR


def test_torch_s_own_counter_comes_to_the_same() -> None:
    experiment = load("zou2018/products")
    settings = experiment.QUICK.override(SMALL["zou2018/products"])
    with using("torch"), Work() as work, FlopCounterMode(display=False) as counter:
        experiment.run(settings, "cpu")
    assert work.flops == counter.get_total_flops() > 0
