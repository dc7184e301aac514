"""Whether something vanishes or levels off: every answer, by laws that are written in."""

import numpy as np
import pytest
import xarray as xr

from companion.lab.checks import vanishes

SIZES = np.array([10.0, 20.0, 40.0])


def law(*exponents, noise=0.0, seeds=6, sizes=SIZES):
    """A power law for every width, whose logarithm scatters over the seeds at the last size."""
    scatter = np.zeros((seeds, 1, len(sizes)))
    scatter[:, 0, -1] = noise * np.linspace(-1, 1, seeds)
    laws = sizes ** np.array(exponents)[:, None]
    return xr.DataArray(
        3 * laws * np.exp(scatter), dims=["seed", "width", "size"], coords={"size": sizes}
    )


def check(samples):
    return vanishes("share", samples, "size", 1.0, "what vanishes like the root")


@pytest.mark.parametrize(
    ("exponent", "answer"),
    [(-2.0, "yes"), (-1.0, "yes"), (-0.52, "yes"), (-0.48, "no"), (0.0, "no"), (1.0, "no")],
)
def test_half_way_to_the_slowest_law_is_the_edge(exponent, answer):
    """Between sizes whose ratio is 2 the law falls by 2, and the edge is its root."""
    found = check(law(exponent, noise=1e-3))
    assert found.answer == answer
    assert f"{2**exponent:.3f} (" in found.measured
    assert "below 0.71, half way from the 1 of what levels off to the 0.50" in found.tolerance
    missed = found.slack.startswith("missed")
    assert missed == (answer == "no")


def test_only_the_two_largest_sizes_count():
    late = law(0.0)
    late[..., 0] *= 100
    assert check(late).answer == "no"
    early = law(-1.0)
    early[..., 0] = early[..., 1]
    assert check(early).answer == "yes"


def test_every_width_is_judged_by_itself():
    assert check(law(-2.0, -1.0)).answer == "yes"
    assert check(law(-2.0, 0.0)).answer == "no"
    blurred = law(-2.0, -1.0)
    blurred[:, 1] = law(-0.5, noise=1.0)[:, 0]
    assert check(blurred).answer == "unclear"


@pytest.mark.parametrize("exponent", [-1.0, 0.0])
def test_noise_settles_nothing(exponent):
    assert check(law(exponent, noise=3.0)).answer == "unclear"


@pytest.mark.parametrize(
    "samples",
    [law(0.0, seeds=2), law(0.0, sizes=SIZES[:1]), law(0.0) * 0, law(0.0) * np.nan, -law(0.0)],
)
def test_too_little_settles_nothing(samples):
    found = check(samples)
    assert (found.answer, found.slack) == ("unclear", "")
