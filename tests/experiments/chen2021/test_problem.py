"""The drawn problems of Chen et al. (2021): what they promise, and the sphere by rejection."""

import pytest
import torch
from scipy import stats

from companion.experiments.chen2021._problem import HalvesSettings, draw, halves


@pytest.mark.parametrize("dimension", [2, 3, 50])
def test_halves_are_of_unit_norm_apart_from_the_plane_and_labelled_by_it(dimension: int) -> None:
    data = halves(500, dimension, 0.2, seed=0)
    torch.testing.assert_close(data.x.norm(dim=1), torch.ones(500, dtype=torch.float64))
    assert (data.y * data.x[:, 0]).min() >= 0.2
    assert abs(data.y.mean()) < 0.2


def test_halves_are_distributed_as_what_a_rejection_leaves() -> None:
    data = halves(4_000, 6, 0.3, seed=1)
    plain = torch.randn(40_000, 6, generator=torch.Generator().manual_seed(0)).double()
    plain = plain / plain.norm(dim=1, keepdim=True)
    left = plain[plain[:, 0].abs() >= 0.3]
    for column in (0, 3):
        assert stats.ks_2samp(data.x[:, column].numpy(), left[:, column].numpy()).pvalue > 1e-3


def test_a_problem_trains_all_matrices_and_alpha_changes_the_factor_alone() -> None:
    settings = HalvesSettings()
    half, quarter = (
        draw(settings, "cpu", seed=0, width=16, layers=3, alpha=alpha) for alpha in (0.5, 0.25)
    )
    assert torch.equal(half.x, quarter.x)
    assert len(half.layer_grams) == 3
    torch.testing.assert_close(half.network.predict(half.x), 2 * quarter.network.predict(quarter.x))
    other = draw(settings, "cpu", seed=0, width=16, layers=3, labels="random")
    assert torch.equal(other.x, half.x)
    assert not torch.equal(other.y, half.y)
