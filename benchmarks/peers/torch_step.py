"""Full-batch gradient descent by torch.optim.SGD on autograd."""

import measuring
import measuring_torch
import torch
from torch import Tensor
from torch.nn.functional import linear, softplus


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Steps on the mean cross-entropy in all hidden layers; the output signs are fixed."""
    x, y = measuring_torch.inputs(case)
    outputs = measuring_torch.tensor(case, measuring.sign_outputs(case))
    weights = [weight.requires_grad_() for weight in measuring_torch.hidden_weights(case)]
    optimiser = torch.optim.SGD(weights, lr=case["step_size"])

    def mean_loss() -> Tensor:
        hidden = x
        for weight in weights:
            hidden = linear(hidden, weight).relu()
        return softplus(-y * (hidden @ outputs)).mean()

    def run() -> None:
        for _ in range(case["steps"]):
            optimiser.zero_grad()
            mean_loss().backward()
            optimiser.step()

    def check(_: None) -> list[float]:
        return measuring_torch.of_descent(case, mean_loss(), [w.detach() for w in weights])

    return measuring.Prepared(measuring_torch.finished(case, run), check, units=case["steps"])


if __name__ == "__main__":
    measuring_torch.report(prepare, "torch")
