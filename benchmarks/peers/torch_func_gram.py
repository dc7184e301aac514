"""The empirical NTK by torch.func, as in its tutorial "Neural Tangent Kernels"."""

from collections.abc import Callable

import measuring
import measuring_torch
import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

Parameters = dict[str, Tensor]


def empirical_ntk_jacobian_contraction(
    fnet_single: Callable[[Parameters, Tensor], Tensor],
    params: Parameters,
    x1: Tensor,
    x2: Tensor,
) -> Tensor:
    """The tutorial's function of this name: both Jacobians in full, contracted layer by layer."""
    jac1 = [j.flatten(2) for j in vmap(jacrev(fnet_single), (None, 0))(params, x1).values()]
    jac2 = [j.flatten(2) for j in vmap(jacrev(fnet_single), (None, 0))(params, x2).values()]
    contracted = [torch.einsum("Naf,Mbf->NMab", j1, j2) for j1, j2 in zip(jac1, jac2, strict=True)]
    return torch.stack(contracted).sum(0)


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The Gram matrix of a torch.nn network of linear layers and ReLUs, every layer trained."""
    weights = measuring_torch.hidden_weights(case)
    weights.append(measuring_torch.tensor(case, measuring.gaussian_outputs(case))[None])
    layers: list[torch.nn.Module] = []
    for weight in weights:
        layers += [torch.nn.Linear(*weight.shape[::-1], bias=False, device="meta"), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    params = {f"{2 * layer}.weight": weight for layer, weight in enumerate(weights)}
    x, _ = measuring_torch.inputs(case)

    def fnet_single(params: Parameters, point: Tensor) -> Tensor:
        return functional_call(net, params, (point.unsqueeze(0),)).squeeze(0)

    def gram() -> Tensor:
        return empirical_ntk_jacobian_contraction(fnet_single, params, x, x)[:, :, 0, 0]

    return measuring.Prepared(measuring_torch.finished(case, gram), measuring_torch.of_matrix)


if __name__ == "__main__":
    measuring_torch.report(prepare, "torch")
