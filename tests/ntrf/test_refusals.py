"""Input without an optimum is refused in one sentence."""

import math

import pytest
import torch

from companion.errors import InputError
from companion.ntrf import (
    class_value,
    ji_telgarsky_margin,
    margin_target,
    regression_radius,
    smallest_radius,
)
from tests.ntrf.primal import case, directions


def test_bad_input_is_refused():
    given = case()
    grams, f, y = given.grams, given.f, given.y
    crooked, negative, endless = grams[0].clone(), -grams[0], grams[0].clone()
    crooked[0, 1] += 1
    endless[2, 2] = math.nan
    for wrong, told in [
        (([], f, y, 1.0), "there is no Gram matrix"),
        (([grams[0][:3]], f, y, 1.0), r"must be \(8, 8\)"),
        (([crooked], f, y, 1.0), "not symmetric"),
        (([negative], f, y, 1.0), "negative eigenvalue"),
        (([endless], f, y, 1.0), "not finite"),
        (([grams[0].half()], f, y, 1.0), "float32 or float64 is needed"),
        ((grams, f[:3], y, 1.0), r"\(8,\) is needed"),
        ((grams, f.half(), y, 1.0), "float32 or float64 is needed"),
        ((grams, f, y[:, None], 1.0), r"\(n,\) with n >= 1 is needed"),
        ((grams, f, y.abs() - 1, 1.0), "label 0 is 0"),
        ((grams, f, y, math.nan), "must be"),
    ]:
        for quantity in (class_value, smallest_radius):
            with pytest.raises(InputError, match=told):
                quantity(*wrong)
    with pytest.raises(InputError, match="the radius is -1"):
        class_value(grams, f, y, -1.0)
    for quantity in (class_value, smallest_radius):
        with pytest.raises(InputError, match="the ball is 'cube'"):
            quantity(grams, f, y, 1.0, ball="cube")
    for loss in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="the largest loss is"):
            margin_target(loss)
    with pytest.raises(InputError, match="do not fit directions"):
        ji_telgarsky_margin(given.x, y, directions(5, 4))
    with pytest.raises(InputError, match="do not fit directions"):
        ji_telgarsky_margin(given.x, y, directions(0, 3))
    with pytest.raises(InputError, match="3 labels for 8 inputs"):
        ji_telgarsky_margin(given.x, y[:3], directions(5, 3))
    with pytest.raises(InputError, match="residuals have shape"):
        regression_radius(grams[0], torch.ones(2, 2))
    with pytest.raises(InputError, match=r"must be \(3, 3\)"):
        regression_radius(grams[0], torch.ones(3))
