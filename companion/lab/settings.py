"""Typed, frozen settings of experiments, and the sentences that refuse bad ones."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from companion.errors import InputError, one_of


def _increasing(sizes: tuple[float, ...]) -> tuple[float, ...]:
    if any(b <= a for a, b in pairwise(sizes)):
        raise ValueError("the values must increase")
    return sizes


def _parts(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


Size = Annotated[int, Field(ge=1)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1), AfterValidator(_increasing)]
Increasing = AfterValidator(_increasing)
# An exponent needs three sizes.
SeveralSizes = Annotated[Sizes, Field(min_length=3)]
Count = Annotated[int, Field(ge=2)]
# In dimension 1 the sphere has two points: inputs repeat, and lambda_0 = 0.
Dimension = Annotated[int, Field(ge=2)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Probability = Share


class Settings(BaseModel):
    """Base of every experiment's settings: immutable, and closed to unknown names.

    Attributes:
        dtype: in which it computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    dtype: Literal["float32", "float64"] = "float64"

    def override(self, values: Mapping[str, object]) -> Self:
        """A validated copy with some settings replaced.

        Raises:
            InputError: an unknown name (the nearest is named), a wrong type, or a value out
                of range.
        """
        for name, value in values.items():
            one_of("setting", name, type(self).model_fields)
            # pydantic would count true as 1; no experiment has a setting that is true or false.
            if any(isinstance(part, bool) for part in _parts(value)):
                raise InputError(f"setting {name}={value!r}: true and false are no settings here.")
        try:
            return type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "settings"
            reason = problem["msg"].removeprefix("Value error, ")
            reason = reason[0].lower() + reason[1:]
            raise InputError(f"setting {where}={problem['input']!r}: {reason}.") from None


class SeededSettings(Settings):
    """Settings of what is drawn anew from several seeds.

    Attributes:
        seeds: how many independent draws of data and network.
        first_seed: that of the first draw, which all others follow: with another one the
            experiment asks whether its verdicts survive fresh seeds.
    """

    seeds: Size = 3
    first_seed: Annotated[int, Field(ge=0)] = 0

    @property
    def each_seed(self) -> range:
        """The seeds, one after another."""
        return range(self.first_seed, self.first_seed + self.seeds)


class SphereSettings(SeededSettings):
    """Settings of training sets on the sphere.

    Attributes:
        count: n, inputs uniform on the unit sphere, labels N(0, 1).
        dimension: d, the length of an input.
    """

    count: Count = 50
    dimension: Dimension = 50

    @property
    def data(self) -> str:
        """What is computed on, in words."""
        return f"uniform on the sphere, n={self.count}, d={self.dimension}, labels N(0, 1)"
