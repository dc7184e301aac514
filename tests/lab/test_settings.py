"""Settings refuse what they do not know, in one sentence."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from companion.errors import InputError
from companion.lab.settings import SeededSettings, SeveralSizes, Share, SphereSettings
from companion.lab.settings import Settings as Base


class Settings(Base):
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (10, 20)
    step_size: Annotated[float, Field(gt=0)] = 0.5


def test_override_validates_and_leaves_the_rest() -> None:
    changed = Settings().override({"widths": [3, 4]})
    assert changed.widths == (3, 4)
    assert changed.step_size == 0.5


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().step_size = 1.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"widht": 3}, "no setting 'widht'; did you mean 'widths'"),
        ({"qqqq": 3}, "known: dtype, widths, step_size"),
        ({"widths": [0]}, "greater than or equal to 1"),
        ({"widths": "wide"}, "widths='wide'"),
        ({"step_size": -1}, "greater than 0"),
        ({"step_size": "big"}, "valid number"),
        ({"dtype": "float16"}, "'float32' or 'float64'"),
        ({"step_size": True}, "step_size=True: true and false are no settings"),
        ({"widths": [1, True]}, "true and false are no settings"),
        ({"widths": ["1_0x"]}, "valid integer"),
    ],
)
def test_bad_values_are_named(values: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Settings().override(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [SeededSettings, SphereSettings])
def test_one_setting_shifts_all_seeds(kind: type[SeededSettings]) -> None:
    assert list(kind().each_seed) == [0, 1, 2]
    assert list(kind(seeds=2, first_seed=100).each_seed) == [100, 101]
    assert list(kind().override({"first_seed": 7}).each_seed) == [7, 8, 9]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"seeds": 0}, "seeds=0: input should be greater than or equal to 1"),
        ({"first_seed": -1}, "first_seed=-1: input should be greater than or equal to 0"),
        ({"first_seed": 0.5}, "first_seed=0.5"),
        ({"count": 1}, "count=1: input should be greater than or equal to 2"),
        ({"dimension": 1}, "dimension=1: input should be greater than or equal to 2"),
        ({"data": "mine"}, "no setting 'data'"),
        ({"each_seed": [1]}, "no setting 'each_seed'"),
    ],
)
def test_seeds_and_sizes_of_spheres_are_checked(values: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SphereSettings().override(values)


def test_a_sphere_says_what_is_computed_on() -> None:
    assert SphereSettings(count=7, dimension=3).data == (
        "uniform on the sphere, n=7, d=3, labels N(0, 1)"
    )


class Fit(SeededSettings):
    widths: SeveralSizes = (1, 2, 4)
    share: Share = 0.5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"widths": [1, 2]}, "at least 3 items"),
        ({"widths": [1, 4, 2]}, "the values must increase"),
        ({"widths": [1, 2, 2]}, "the values must increase"),
        ({"widths": [0, 1, 2]}, "greater than or equal to 1"),
        ({"share": 0}, "greater than 0"),
        ({"share": 1}, "less than 1"),
        ({"share": float("nan")}, "share=nan"),
    ],
)
def test_an_exponent_needs_three_sizes_that_increase(values: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Fit().override(values)
