"""Modules of torch and networks: the same numbers and gradients both ways, the rest refused."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from companion.bridge import from_sequential, to_sequential
from companion.datasets import sphere, with_bias
from companion.errors import InputError
from companion.kernels import empirical_gram
from companion.losses import QUADRATIC
from companion.networks import draw_du, draw_zou
from companion.training import train
from tests.oracles import NETWORKS

EVERY = pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Of seeded weights in float64."""
    layer = nn.Linear(inputs, outputs, bias=False, dtype=torch.float64)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(31 * inputs + outputs))
    return layer


def three_layers() -> nn.Sequential:
    return nn.Sequential(linear(3, 8), nn.ReLU(), linear(8, 6), nn.ReLU(), linear(6, 1))


def test_a_module_and_its_network_have_the_same_numbers_and_gradients():
    module, data = three_layers(), sphere(7, 3, 0)
    network = from_sequential(module)
    assert (network.widths, network.dimension, network.trained) == ((8, 6), 3, "all")
    forward = network.run(data.x)
    predictions = module(data.x)[:, 0]
    torch.testing.assert_close(forward.predictions, predictions, rtol=1e-14, atol=1e-14)
    ((predictions - data.y).square().sum() / 2).backward()
    found = network.gradients(forward, forward.predictions - data.y)
    known = [parameter.grad for parameter in module.parameters()]
    torch.testing.assert_close([*found[:-1], found[-1][None]], known, rtol=1e-13, atol=1e-13)


def test_the_derivative_at_the_kink_is_that_of_torch():
    module, x = nn.Sequential(linear(2, 1), nn.ReLU(), linear(1, 1)), torch.zeros(1, 2).double()
    x[0, 0] = 1
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.0, 1.0]]))
    module(x).sum().backward()
    network = from_sequential(module)
    found, _ = network.gradients(network.run(x), torch.ones(1).double())
    assert torch.equal(found, module[0].weight.grad)
    assert float(found.abs().max()) == 0


def test_steps_of_training_are_those_of_torch():
    module, data = three_layers(), sphere(7, 3, 0)
    history = train(
        from_sequential(module), data.x, data.y, loss=QUADRATIC, step_size=0.01, steps=5
    )
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    for _ in range(5):
        optimiser.zero_grad()
        ((module(data.x)[:, 0] - data.y).square().mean() / 2).backward()
        optimiser.step()
    back = to_sequential(history.network)
    for found, known in zip(back.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-13, atol=1e-13)


def test_one_relu_may_stand_in_many_places():
    relu, x = nn.ReLU(), sphere(4, 3, 0).x
    shared = nn.Sequential(linear(3, 8), relu, linear(8, 6), relu, linear(6, 1))
    torch.testing.assert_close(from_sequential(shared).predict(x), three_layers()(x)[:, 0])


def test_round_trips_of_modules_are_exact_and_flat():
    inner = nn.Sequential(nn.ReLU(inplace=True), nn.Sequential(linear(8, 6), nn.ReLU()))
    module = nn.Sequential(OrderedDict(first=linear(3, 8), inner=inner, last=linear(6, 1)))
    back = to_sequential(from_sequential(module))
    assert str(back) == str(three_layers())
    for found, known in zip(back.parameters(), module.parameters(), strict=True):
        assert torch.equal(found, known)
    assert back(sphere(4, 3, 0).x).shape == (4, 1)


@EVERY
@pytest.mark.parametrize("trained", ["hidden", "output", "all"])
def test_networks_become_modules_with_their_gains_in_the_weights(draw, trained):
    network = draw(6, 3, 0, depth=2, dtype=torch.float64).training(trained)
    module, x = to_sequential(network), sphere(5, 3, 0).x
    torch.testing.assert_close(module(x)[:, 0], network.predict(x), rtol=1e-13, atol=1e-14)
    again = from_sequential(module, trained)
    assert (again.gains, again.output_gain, again.on_at_zero) == ((1.0, 1.0), 1.0, False)
    assert again.trained == trained
    for found, weight, gain in zip(again.weights, network.weights, network.gains, strict=True):
        assert torch.equal(found, gain * weight)
    moved = [parameter.requires_grad for parameter in module.parameters()]
    assert moved == [trained != "output"] * 2 + [trained != "hidden"]


def test_round_trips_of_networks_with_gains_1_are_exact():
    network = draw_zou(6, 3, 0, depth=2)
    again = from_sequential(to_sequential(network), "hidden")
    assert all(map(torch.equal, again.weights, network.weights))
    assert torch.equal(again.outputs, network.outputs)
    x = sphere(4, 3, 0).x.float()
    assert torch.equal(empirical_gram(again, x), empirical_gram(network, x))


def test_both_ways_give_copies():
    module = three_layers()
    network = from_sequential(module)
    back = to_sequential(network)
    with torch.no_grad():
        for parameter in back.parameters():
            parameter += 1
    kept = [weight.clone() for weight in network.weights]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    assert all(map(torch.equal, network.weights, kept))
    assert not any(each.requires_grad for each in network.parameters)
    assert all(parameter.is_leaf for parameter in back.parameters())
    known = from_sequential(three_layers()).parameters
    assert all(map(torch.equal, network.parameters, known))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_device_and_dtype_are_kept_and_no_numbers_drawn(dtype):
    before = torch.get_rng_state()
    module = to_sequential(draw_du(4, 3, 0, depth=2, dtype=dtype, device="meta"))
    network = from_sequential(module)
    to_sequential(draw_du(4, 3, 0, dtype=dtype))
    assert torch.equal(torch.get_rng_state(), before)
    tensors = [*module.parameters(), *network.parameters]
    assert {(each.dtype, each.device.type) for each in tensors} == {(dtype, "meta")}


def test_a_bias_is_a_weight_of_a_constant_coordinate():
    mu, x = 0.3, sphere(5, 3, 0).x
    weight, outputs = linear(4, 8).weight.detach(), linear(8, 1)
    biased = nn.Linear(3, 8, dtype=torch.float64)
    with torch.no_grad():
        biased.weight.copy_((1 - mu**2) ** 0.5 * weight[:, :3])
        biased.bias.copy_(mu * weight[:, 3])
    module = nn.Sequential(biased, nn.ReLU(), outputs)
    with pytest.raises(InputError, match=r"layer 0 is Linear\(.*with a bias; .*x -> \(x, mu\)"):
        from_sequential(module)
    plain = nn.Sequential(linear(4, 8), nn.ReLU(), outputs)
    found = from_sequential(plain).predict(with_bias(x, mu))
    torch.testing.assert_close(found, module(x)[:, 0].detach(), rtol=1e-13, atol=1e-14)


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


def changed(place: int, layer: nn.Module) -> nn.Sequential:
    module = three_layers()
    module[place] = layer
    return module


def hooked(place: str) -> nn.Sequential:
    module = nn.Sequential(three_layers())
    module.get_submodule(place).register_forward_hook(lambda *_: None)
    return module


def tied() -> nn.Sequential:
    twice = linear(3, 3)
    return nn.Sequential(twice, nn.ReLU(), twice, nn.ReLU(), linear(3, 1))


def tied_by_weights() -> nn.Sequential:
    module = nn.Sequential(linear(3, 3), nn.ReLU(), linear(3, 3), nn.ReLU(), linear(3, 1))
    module[2].weight = module[0].weight
    return module


def pruned() -> nn.Sequential:
    module = three_layers()
    prune.random_unstructured(module[2], "weight", 0.5)
    return module


REFUSED = {
    "dropout": (changed(3, nn.Dropout(0.5)), r"layer 3 is Dropout\(p=0\.5, inplace=False\); the"),
    "batch norm": (changed(1, nn.BatchNorm1d(8)), r"layer 1 is BatchNorm1d\(8, "),
    "leaky": (changed(1, nn.LeakyReLU()), r"layer 1 is LeakyReLU\(negative_slope=0\.01\)"),
    "tanh": (changed(1, nn.Tanh()), r"layer 1 is Tanh\(\); the module must be Linear, ReLU"),
    "identity": (changed(1, nn.Identity()), r"layer 1 is Identity\(\)"),
    "nested": (changed(3, nn.Sequential(nn.GELU())), r"layer 3\.0 is GELU"),
    "deeper": (nn.Sequential(changed(3, nn.Sequential(nn.GELU()))), r"layer 0\.3\.0 is GELU"),
    "subclass": (Doubled(three_layers()), r"layer itself is Doubled\(\)"),
    "inner subclass": (changed(0, Doubled(linear(3, 8))), r"layer 0 is Doubled\(\)"),
    "bias": (changed(2, nn.Linear(8, 6)), r"layer 2 is Linear\(.*bias=True\) with a bias; make it"),
    "outputs": (changed(4, linear(6, 2)), r"the module has 2 outputs"),
    "no last": (three_layers()[:4], r"module is Linear, ReLU, Linear, ReLU; it must be Linear, R"),
    "no first": (three_layers()[1:], r"the module is ReLU, Linear, ReLU, Linear; it must"),
    "two linear": (nn.Sequential(linear(3, 2), linear(2, 1)), r"the module is Linear, Linear; it"),
    "linear": (nn.Sequential(linear(3, 1)), r"the module is Linear; it must be"),
    "empty": (nn.Sequential(), r"the module is nothing; it must be"),
    "no sequential": (linear(3, 1), r"module is a .*Linear; give a torch\.nn\.Sequential"),
    "hooks": (hooked("0.2"), r"layer 0\.2 is Linear\(.*\) with hooks"),
    "hooks of an inner one": (hooked("0"), r"layer 0 is Sequential\(\) with hooks"),
    "hooks of the module": (hooked(""), r"layer itself is Sequential\(\) with hooks"),
    "pruned": (pruned(), r"layer 2 is Linear\(.*\) with hooks"),
    "normed": (changed(0, parametrizations.weight_norm(linear(3, 8))), r"0 is ParametrizedLinear"),
    "tied": (tied(), r"two layers share one weight"),
    "tied by weights": (tied_by_weights(), r"two layers share one weight"),
    "no chain": (changed(2, linear(7, 6)), r"shapes \(8, 3\), \(6, 7\), \(6,\); they must be"),
    "two dtypes": (changed(2, linear(8, 6).float()), r"weights are torch\.float32 .*one floating"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused_by_name(module, told):
    with pytest.raises(InputError, match=told):
        from_sequential(module)


def test_only_networks_become_modules_and_only_known_parts_are_trained():
    with pytest.raises(InputError, match=r"network is a .*Sequential; give a ReLUNetwork"):
        to_sequential(three_layers())
    with pytest.raises(InputError, match="trained is 'last'; choose hidden, output or all"):
        from_sequential(three_layers(), "last")
