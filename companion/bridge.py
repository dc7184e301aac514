"""To and from PyTorch: bias-free `nn.Sequential` modules of Linear and ReLU as `ReLUNetwork`s."""

from collections.abc import Iterator

from torch import Tensor, nn

from companion.base.arguments import check_type
from companion.errors import InputError
from companion.networks import ReLUNetwork, Trained, check_network

_SHAPE = "Linear, ReLU, ..., Linear, ReLU, Linear with one output, all without biases"


def from_sequential(module: nn.Sequential, trained: Trained = "all") -> ReLUNetwork:
    """A module's network: gains 1, and relu'(0) = 0 as in torch.

    A bias is no part of these networks. The same functions come without one from inputs with a
    constant coordinate, x -> (x, mu): `datasets.with_bias`.

    Args:
        module: Linear, ReLU, ..., Linear, ReLU, Linear with one output, all without biases;
            `nn.Sequential` modules within it count as their layers do.
        trained: what training moves; that a parameter is frozen in the module says nothing here.

    Returns:
        The network on the module's device in its dtype. Its tensors are copies: training changes
        neither in the other.

    Raises:
        InputError: names the first layer that is no part of such networks: of another kind, with
            a bias, several outputs, hooks (as pruning and weight_norm have them), or weights that
            another layer uses, too; one ReLU may stand in many places.

    Example:
        >>> layers = [torch.nn.Linear(5, 8, bias=False), torch.nn.ReLU()]
        >>> module = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1, bias=False))
        >>> network, x = from_sequential(module), sphere(count=4, dimension=5, seed=0).x.float()
        >>> torch.allclose(network.predict(x), module(x)[:, 0])
        True
    """
    check_type("module", module, nn.Sequential, "a torch.nn.Sequential")
    layers = dict(_layers(module))
    for name, layer in layers.items():
        _check_layer(name, layer)
    linear = [layer for layer in layers.values() if isinstance(layer, nn.Linear)]
    kinds = [type(layer) for layer in layers.values()]
    if kinds != [nn.Linear, nn.ReLU] * (len(linear) - 1) + [nn.Linear] or len(linear) < 2:
        told = ", ".join(kind.__name__ for kind in kinds) or "nothing"
        raise InputError(f"the module is {told}; it must be {_SHAPE}.")
    if len({id(layer.weight) for layer in linear}) < len(linear):
        raise InputError("two layers share one weight; here every layer has to have its own.")
    *hidden, outputs = [layer.weight.detach().clone() for layer in linear]
    if len(outputs) != 1:
        raise InputError(
            f"the module has {len(outputs)} outputs; these networks have one, a number for each "
            "input."
        )
    return ReLUNetwork(tuple(hidden), outputs[0], (1.0,) * len(hidden), 1.0, trained)


def to_sequential(network: ReLUNetwork) -> nn.Sequential:
    """A network as a module: Linear, ReLU, ..., Linear, ReLU, Linear with one output, no biases.

    Gains are multiplied into the weights, so predictions are the same, but steps of training are
    not where a gain is not 1: relative to the weights, a layer of gain g moves g^2 times as fast in
    the network. In torch relu'(0) is 0; a network of Du et al. (2019), where it is 1, has other
    gradients where a preactivation is 0.

    Args:
        network: any; what it does not train is frozen in the module (`requires_grad=False`).

    Returns:
        The module on the network's device in its dtype, of outputs of shape (n, 1); its parameters
        are copies.

    Raises:
        InputError: no `ReLUNetwork`.

    Example:
        >>> network = draw_du(width=8, dimension=5, seed=0, depth=2)
        >>> module, x = to_sequential(network), sphere(count=4, dimension=5, seed=0).x.float()
        >>> torch.allclose(module(x)[:, 0], network.predict(x))
        True
    """
    check_network(network)
    moves_hidden, moves_output = network.trained != "output", network.trained != "hidden"
    layers: list[nn.Module] = []
    for weight, gain in zip(network.weights, network.gains, strict=True):
        layers += [_linear(weight, gain, moves_hidden), nn.ReLU()]
    return nn.Sequential(*layers, _linear(network.outputs[None], network.output_gain, moves_output))


def _layers(module: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers by their names in the module, those of inner Sequentials in their place."""
    if type(module) is not nn.Sequential or _is_hooked(module):
        yield prefix.rstrip(".") or "itself", module
        return
    for name, layer in module._modules.items():
        if isinstance(layer, nn.Sequential):
            yield from _layers(layer, f"{prefix}{name}.")
        elif layer is not None:
            yield prefix + name, layer


def _check_layer(name: str, layer: nn.Module) -> None:
    """Refuse a layer that is neither a plain Linear without a bias nor a plain ReLU."""
    told = f"layer {name} is {type(layer).__name__}({layer.extra_repr()})"
    if _is_hooked(layer):
        raise InputError(f"{told} with hooks, and what they change is not known here; remove them.")
    if type(layer) not in (nn.Linear, nn.ReLU):
        raise InputError(f"{told}; the module must be {_SHAPE}.")
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        raise InputError(
            f"{told} with a bias; make it with bias=False and, for the same functions, append a "
            "constant coordinate to every input, x -> (x, mu)."
        )


def _is_hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _linear(weight: Tensor, gain: float, trained: bool) -> nn.Linear:
    """A Linear without bias; made on no device, so that it draws no numbers from torch's seed."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(gain * weight.detach(), requires_grad=trained)
    return layer
