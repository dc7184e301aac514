"""Kernel regression against scikit-learn, the end of training, and held-out digits."""

import math

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from companion.datafiles import digits_source
from companion.datasets import digits, sphere
from companion.errors import InputError
from companion.kernels import empirical_gram, infinite_width_nngp, infinite_width_ntk
from companion.linearised import FrozenKernel
from companion.networks import draw_chen
from companion.regression import KernelRegression
from tests.modes import PeakMemory

DATA, TEST = sphere(40, 6, 0), sphere(15, 6, 1).x
X, Y = DATA.x, DATA.y
NETWORK = draw_chen(64, 6, 0, depth=2, dtype=torch.float64)
KERNELS = {
    "ntk": (
        {"kernel": "ntk", "depth": 3},
        lambda x, other=None: infinite_width_ntk(x, other, depth=3),
    ),
    "ntk, all": (
        {"kernel": "ntk", "depth": 2, "parameterisation": "du", "trained": "all"},
        lambda x, o=None: infinite_width_ntk(x, o, depth=2, parameterisation="du", trained="all"),
    ),
    "nngp": (
        {"kernel": "nngp", "depth": 2, "parameterisation": "chen"},
        lambda x, other=None: infinite_width_nngp(x, other, depth=2, parameterisation="chen"),
    ),
    "network": ({"kernel": NETWORK}, lambda x, other=None: empirical_gram(NETWORK, x, other)),
    "function": (
        {"kernel": lambda x, other: (x @ (x if other is None else other).T).exp()},
        lambda x, other=None: (x @ (x if other is None else other).T).exp(),
    ),
}
EVERY = pytest.mark.parametrize("name", KERNELS)


@EVERY
@pytest.mark.parametrize("ridge", [0.0, 1e-2, 3.0])
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_it_is_scikit_learns(name, ridge, solver):
    arguments, kernel = KERNELS[name]
    model = KernelRegression(**arguments, ridge=ridge, solver=solver, tolerance=1e-12).fit(X, Y)
    known = KernelRidge(alpha=ridge, kernel="precomputed").fit(kernel(X).numpy(), Y.numpy())
    expected = known.predict(kernel(TEST, X).numpy())
    np.testing.assert_allclose(model.predict(TEST), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.coefficients, known.dual_coef_, rtol=1e-5, atol=1e-7)
    assert model.residual < 1e-10
    alpha = torch.from_numpy(known.dual_coef_)
    assert model.norm() == pytest.approx(float(alpha @ kernel(X) @ alpha), rel=1e-6)
    if ridge == 0:
        assert model.norm() == pytest.approx(float(Y @ torch.linalg.solve(kernel(X), Y)), rel=1e-6)
        torch.testing.assert_close(model.predict(X), Y, rtol=0, atol=1e-7)


def test_it_is_where_descent_under_the_kernel_ends():
    kernel = infinite_width_ntk(X, depth=3)
    frozen = FrozenKernel(kernel)
    eta = 0.9 * frozen.largest_stable_step_size
    found = frozen.descent(torch.zeros_like(Y), Y, step_size=eta, steps=[10**9])
    ended = found.impulses[0] @ infinite_width_ntk(X, TEST, depth=3)
    model = KernelRegression("ntk", depth=3).fit(X, Y)
    torch.testing.assert_close(model.predict(TEST), ended, rtol=1e-9, atol=1e-9)
    assert model.norm() == pytest.approx(float(found.impulses[0] @ kernel @ found.impulses[0]))


def test_rows_computed_anew_give_what_the_kept_matrix_gives(monkeypatch):
    monkeypatch.setattr("companion.regression._ROWS", 16)
    kept = KernelRegression("ntk", depth=2, solver="cg", ridge=0.1).fit(X, Y)
    tiled = KernelRegression("ntk", depth=2, solver="cg", ridge=0.1, memory_budget=100).fit(X, Y)
    torch.testing.assert_close(kept.predict(TEST), tiled.predict(TEST))
    x = sphere(600, 3, 0)
    whole = 600**2 * 8
    with PeakMemory() as peak:
        KernelRegression(
            lambda a, b: (a @ b.T).exp(), solver="cg", ridge=1.0, memory_budget=100.0
        ).fit(x.x, x.y)
    assert peak.peak < whole / 4


def test_how_many_are_factored_and_what_is_kept_within_the_budget(monkeypatch):
    asked = []

    def kernel(x, other):
        asked.append((len(x), other is None))
        return (x @ (x if other is None else other).T).exp()

    def keeps(budget):
        asked.clear()
        KernelRegression(kernel, ridge=1.0, memory_budget=budget).fit(X, Y)
        return all(whole for _, whole in asked)

    monkeypatch.setattr("companion.regression._FACTORED", 40)
    assert keeps(1)  # a budget is for conjugate gradients alone
    monkeypatch.setattr("companion.regression._FACTORED", 39)
    assert keeps(40 * 40 * 8)
    assert keeps(None)
    assert not keeps(40 * 40 * 8 - 1)


def test_rows_of_predictions_and_of_a_kept_matrix_are_taken_some_at_a_time(monkeypatch):
    monkeypatch.setattr("companion.regression._ROWS", 50)
    asked, x = [], sphere(600, 3, 0).x.float()

    def kernel(a, b):
        asked.append(len(a))
        return (a @ (a if b is None else b).T).exp_()

    with PeakMemory() as peak:
        model = KernelRegression(kernel, solver="cg", ridge=1.0).fit(x, x[:, 0])
    assert peak.peak < 1.5 * 600**2 * 4  # K itself, and not once more in float64
    assert asked == [600]
    model.predict(x)
    assert asked[1:] == [50] * 12


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_derivatives_outside_are_left_alone(solver):
    x, y, test = (each.clone().requires_grad_() for each in (X, Y, TEST))
    model = KernelRegression(KERNELS["function"][0]["kernel"], ridge=1.0, solver=solver).fit(x, y)
    predicted = model.predict(test)
    assert not predicted.requires_grad
    assert model.fit(X, Y).predict(TEST).tolist() == predicted.tolist()


def test_steps_that_run_out_are_told_by_the_residual():
    model = KernelRegression("ntk", depth=2, solver="cg", most_steps=2).fit(X, Y)
    assert model.residual > 1e-6
    off = infinite_width_ntk(X, depth=2) @ model.coefficients - Y
    assert model.residual == pytest.approx(float(off.norm() / Y.norm()))


def test_threes_and_eights_that_it_has_not_seen():
    data = digits(digits_source(), (3, 8), 500)
    seen, held = slice(0, 800), slice(800, 1000)
    models = {
        name: KernelRegression(name, depth=2).fit(data.x[seen], data.y[seen])
        for name in ("ntk", "nngp")
    }
    for model in models.values():
        assert model.error(data.x[held], data.y[held]) <= 0.04
        assert model.error(data.x[seen], data.y[seen]) == 0
        wrong = (model.predict(data.x[held]) * data.y[held] <= 0).double().mean()
        assert model.error(data.x[held].numpy(), data.y[held].numpy()) == float(wrong)
    shuffled = data.y[seen][torch.randperm(800, generator=torch.Generator().manual_seed(0))]
    random = KernelRegression("ntk", depth=2).fit(data.x[seen], shuffled)
    assert random.error(data.x[held], data.y[held]) > 0.3
    assert random.norm() > 2 * models["ntk"].norm()


def test_single_precision_and_arrays():
    known = KernelRegression("ntk", depth=2).fit(X, Y)
    single = KernelRegression("ntk", depth=2).fit(X.float().numpy(), Y.float().numpy())
    predicted = single.predict(TEST.numpy())
    assert predicted.dtype == torch.float32
    torch.testing.assert_close(predicted, known.predict(TEST).float(), rtol=1e-3, atol=1e-3)
    arrays = KernelRegression("ntk", depth=2).fit(X.numpy(), Y.numpy())
    assert arrays.predict(TEST.numpy()).tolist() == known.predict(TEST).tolist()
    zero = KernelRegression("ntk", depth=1).fit(X, torch.zeros_like(Y))
    assert (zero.residual, zero.norm()) == (0, 0)
    assert zero.error(X, Y) == 1  # f = 0 is on no side


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kernel": "ntks"}, "there is no kernel 'ntks'; did you mean 'ntk'"),
        ({"kernel": 3}, "kernel is 3; give 'ntk', 'nngp', a network or a function"),
        ({"depth": None}, "depth is missing; the kernel ntk of infinite width needs it"),
        ({"ridge": -1}, "ridge is -1.0; it must be a number of at least 0"),
        ({"ridge": math.nan}, "ridge is nan; it must be"),
        ({"ridge": math.inf}, "ridge is inf; it must be"),
        ({"solver": "lu"}, "there is no solver 'lu'"),
        ({"tolerance": 0}, "tolerance is 0.0; it must be a positive number"),
        ({"most_steps": 0}, "most_steps is 0; it must be at least 1"),
        ({"memory_budget": 0}, "memory_budget is 0.0; it must be a positive number"),
    ],
)
def test_what_cannot_be_a_regression_is_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        KernelRegression(**({"kernel": "ntk", "depth": 2} | arguments))


def test_data_that_do_not_fit_are_refused():
    model = KernelRegression("ntk", depth=2)
    with pytest.raises(InputError, match="nothing has been fitted; call fit"):
        model.predict(TEST)
    for x, y, told in [
        (X, Y[:3], r"x has shape \(40, 6\) and y \(3,\)"),
        (X[0], Y, r"x has shape \(6,\)"),
        (X / 0, Y, "input 0 holds a number that is not finite"),
        (X, Y / 0, "label 0 holds a number that is not finite"),
        (torch.cat([X, X[:1]]), torch.cat([Y, Y[:1]]), "the kernel matrix is singular"),
        (X.tolist(), Y, r"x is a list; give a torch tensor, torch\.tensor\(x\)"),
    ]:
        with pytest.raises(InputError, match=told):
            model.fit(x, y)
    model.fit(X, Y)
    for x, told in [
        (TEST[:, :5], r"x has shape \(15, 5\)"),
        (TEST.float(), "torch.float32"),
        (TEST[:0], "0"),
    ]:
        with pytest.raises(InputError, match=told):
            model.predict(x)
    with pytest.raises(InputError, match=r"y has shape \(3,\); \(15,\) is needed"):
        model.error(TEST, Y[:3])
    ridged = KernelRegression("ntk", depth=2, ridge=1e-6)
    doubled = ridged.fit(torch.cat([X, X[:1]]), torch.cat([Y, Y[:1] + 1])).predict(X[:1])
    assert float(doubled) == pytest.approx(float(Y[0]) + 0.5, abs=1e-4)
