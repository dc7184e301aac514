"""Arguments that no run takes are refused in one sentence, before the first step."""

import math

import numpy as np
import pytest
import torch

from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, QUADRATIC
from companion.monitors import (
    Every,
    mean_loss,
)
from companion.training import (
    Stop,
    descent,
    flow,
    prediction_velocity,
    train,
    training_memory,
)
from tests.training.cases import case, spoilt


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x": np.ones((10, 4), complex)}, "x is an array of complex128; float32 or"),
        ({"y": np.array(["a"] * 10)}, "y is an array of <U1; float32 or"),
        ({"x": np.ones((10, 5))}, r"the network takes \(n, 4\)"),
        ({"y": [1.0] * 10}, r"y is a list; give a torch tensor, torch.tensor\(y\)"),
        ({"network": torch.nn.Linear(4, 1)}, r"network is a torch.nn.*Linear; give a ReLUNetwork"),
        ({"loss": "hinges"}, "there is no loss 'hinges'; did you mean 'hinge'"),
        ({"loss": torch.nn.MSELoss()}, r"loss is a torch.*MSELoss; give a Loss, or the name of"),
        ({"optimiser": torch.optim.Adam}, "optimiser is a type; give an optimiser, such as Adam"),
        ({"optimiser": "adam"}, "optimiser is 'adam'; give an optimiser, such as Adam"),
        ({"schedule": 0.5}, "schedule is 0.5; give a function of the step, such as Cosine"),
        ({"schedule": lambda step: step}, "the schedule's factor at step 0 is 0.0; it must be a"),
        ({"batches": 5}, r"batches is 5; give Batches\(size=5\)"),
        ({"stop": 0.1}, r"stop is 0.1; give Stop\(\.\.\.\) or None"),
        ({"record": mean_loss}, "record is a function; give a mapping, name -> monitor"),
        ({"record": [mean_loss]}, "record is a list"),
        ({"record": {"loss": "mean_loss"}}, "monitor 'loss' is 'mean_loss'; give a function"),
        ({"record": {1: mean_loss}}, "the name of a monitor is 1; give text"),
        ({"record": {"loss": Every(1.5, mean_loss)}}, "of monitor 'loss' is 1.5; it must be a who"),
        ({"checkpoint": "run.npz"}, r"checkpoint is 'run.npz'; give Checkpoint\('run.npz'\)"),
        ({"steps": 3.0}, "steps is 3.0; it must be a whole number"),
        ({"steps": "3"}, "steps is '3'; it must be a whole number"),
        ({"step_size": "0.1"}, "step_size is '0.1'; it must be a number"),
        ({"step_size": None}, "step_size is None; it must be a number"),
        ({"step_size": torch.ones(2)}, "step_size is a torch.Tensor of torch.float32; it must be"),
        ({"x": spoilt(math.nan)}, "input 3 holds a number that is not finite"),
        ({"x": spoilt(-math.inf)}, "input 3 holds a number that is not finite"),
        ({"y": spoilt(math.nan)[:, 2], "loss": QUADRATIC}, "label 3 holds a number that is not"),
        ({"step_size": 0.0}, "step_size is 0"),
        ({"step_size": math.inf}, "step_size is inf"),
        ({"step_size": math.nan}, "step_size is nan"),
        ({"steps": -1}, "steps is -1"),
        ({"y": torch.zeros(10).double()}, "labels must be -1 or \\+1"),
        ({"y": torch.ones(9).double()}, r"labels have shape \(9,\)"),
        ({"y": torch.ones(10)}, r"torch.float32; \(10,\), torch.float64"),
        ({"x": torch.ones(10, 5).double()}, r"the network takes \(n, 4\)"),
        ({"x": torch.ones(10, 4).half()}, "inputs are torch.float16"),
        ({"batches": Batches(0)}, "batch size is 0"),
        ({"batches": Batches(11)}, "must lie in 1 to 10"),
        ({"batches": Batches(3, "sorted")}, "order is 'sorted'"),
        ({"batches": Batches(3, "once"), "steps": 5}, "takes 4"),
        ({"record": {"loss": Every(-1, mean_loss)}}, "of monitor 'loss' is -1"),
    ],
)
def test_bad_input_is_refused(changes, told):
    network, x, y = case()
    options = {"network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.1}
    options |= {"steps": 3, **changes}
    with pytest.raises(InputError, match=told):
        train(**options)
    if not {"steps", "record", "stop", "checkpoint", "batches"} & changes.keys():
        with pytest.raises(InputError, match=told):  # before the first moment is asked for
            descent(**{name: options[name] for name in options if name != "steps"})
    if {"x", "y", "network"} & changes.keys():
        with pytest.raises(InputError, match=told):
            prediction_velocity(**{name: options[name] for name in ("network", "x", "y", "loss")})
    if "checkpoint" not in options and "torch.Tensor" not in told:  # a fleet takes many step sizes
        with pytest.raises(InputError, match=told):
            train_fleet(networks=[options.pop("network")], **options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x": np.ones((10, 5))}, r"the network takes \(n, 4\)"),
        ({"most_evaluations": 0}, "most_evaluations is 0; it must be at least 1"),
        ({"stop": 0.1}, r"stop is 0.1; give Stop\(\.\.\.\) or None"),
        ({"checkpoint": "run.npz"}, r"checkpoint is 'run.npz'; give Checkpoint\('run.npz'\)"),
        ({"network": torch.nn.Linear(4, 1)}, "network is a torch.nn.*Linear; give a ReLUNetwork"),
        ({"tolerance": math.inf}, "tolerance is inf; it must be a positive number"),
        ({"loss": "hinges"}, "there is no loss 'hinges'"),
        ({"record": mean_loss}, "record is a function"),
        ({"times": 1.0}, "times is 1.0; give a list of numbers"),
        ({"times": [0, "1"]}, "a time is '1'; it must be a number"),
        ({"tolerance": 0}, "tolerance is 0.0; it must be a positive number"),
        ({"x": spoilt(math.nan)}, "input 3 holds a number that is not finite"),
    ],
)
def test_bad_input_of_a_flow_is_refused(changes, told):
    network, x, y = case()
    options = {"network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "times": [0, 1]}
    with pytest.raises(InputError, match=told):
        flow(**{**options, "record": {}, **changes})


@pytest.mark.parametrize("times", [[], [0], [0.1, 1], [0, 2, 1], [0, 0], [0, 1, 1]])
def test_times_that_do_not_increase_are_refused(times):
    network, x, y = case()
    with pytest.raises(InputError, match="times must start at 0"):
        flow(network, x, y, loss=CROSS_ENTROPY, times=times, record={})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"every": -3}, "every is -3; it must be at least 1"),
        ({"every": 2.5}, "every is 2.5; it must be a whole number"),
        ({"plateau": 0}, "plateau is 0; it must be at least 1"),
        ({"fall": 1}, r"fall is 1.0; it must lie in \[0, 1\)"),
        ({"fall": math.nan}, "fall is nan; it must be a finite number"),
        ({"loss_below": math.nan}, "loss_below is nan; it must be a finite number"),
        ({"loss_below": "0.1"}, "loss_below is '0.1'; it must be a number"),
    ],
)
def test_a_stop_that_is_none_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        Stop(**options)


def test_batches_that_do_not_fit_are_refused_before_the_first_moment_is_asked_for():
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1}
    with pytest.raises(InputError, match="must lie in 1 to 10"):
        descent(network, x, y, batches=Batches(11), **options)
    with pytest.raises(InputError, match=r"network is a torch\.nn.*Linear; give a ReLUN"):
        training_memory(torch.nn.Linear(4, 1), 10)


def test_numbers_of_other_libraries_are_numbers():
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "record": {"loss": Every(2, mean_loss)}}
    known = train(
        network, x, y, step_size=0.125, steps=4, batches=Batches(3, "subsets", 1), **options
    )
    others = {"loss": CROSS_ENTROPY, "record": {"loss": Every(np.int32(2), mean_loss)}}
    for step_size, steps in [
        (np.float32(0.125), np.int64(4)),
        (torch.tensor(0.125), torch.tensor(4)),
    ]:
        batches = Batches(np.int64(3), "subsets", np.int64(1))
        found = train(
            network, x, y, step_size=step_size, steps=steps, batches=batches, **others,
            stop=Stop(loss_below=np.float32(0), every=np.int64(1)),
        )  # fmt: skip
        assert np.array_equal(found["loss"], known["loss"])
        (member,) = train_fleet(
            [network], x, y, step_size=step_size, steps=steps, batches=batches, **others
        )
        np.testing.assert_allclose(member["loss"], known["loss"])
