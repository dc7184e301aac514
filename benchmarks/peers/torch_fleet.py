"""Many networks on the same inputs, one after another, each by torch.optim.SGD on autograd."""

import measuring
import measuring_torch
import torch
from torch import Tensor
from torch.nn.functional import linear, softplus


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Every network takes its steps on the mean cross-entropy, all of its layers trained."""
    x, y = measuring_torch.inputs(case)
    gain = case["m"] ** case["alpha"]
    fleet = [
        [
            *measuring_torch.hidden_weights(case, member),
            measuring_torch.tensor(case, measuring.gaussian_outputs(case, member)),
        ]
        for member in range(case["networks"])
    ]

    def mean_loss(weights: list[Tensor]) -> Tensor:
        hidden = x
        for weight in weights[:-1]:
            hidden = linear(hidden, weight).relu()
        return softplus(-y * gain * (hidden @ weights[-1])).mean()

    def trained(initial: list[Tensor]) -> list[Tensor]:
        weights = [weight.clone().requires_grad_() for weight in initial]
        optimiser = torch.optim.SGD(weights, lr=case["step_size"])
        for _ in range(case["steps"]):
            optimiser.zero_grad()
            mean_loss(weights).backward()
            optimiser.step()
        return weights

    def run() -> list[list[Tensor]]:
        return [trained(initial) for initial in fleet]

    return measuring.Prepared(
        measuring_torch.finished(case, run),
        lambda fleet: [float(mean_loss(weights)) for weights in fleet],
        units=case["steps"],
    )


if __name__ == "__main__":
    measuring_torch.report(prepare, "torch")
