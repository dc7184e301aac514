"""Settings refuse what they do not know, in one sentence."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from companion.errors import InputError
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
