"""Products of masked matrices and their sparse forms grow like the depth at most (Thm 5.1 v-vii).

Refuted by norms that grow faster than the depth, or with the width, and by forms on sparse vectors
that grow faster than sqrt(s), than the depth, or with the width.
"""

from functools import partial

import numpy as np
import xarray as xr

from companion.experiments.zou2018._layers import asked_width
from companion.experiments.zou2018._problem import DeepSettings, draw
from companion.experiments.zou2018._products import (
    masked_limit,
    measured_products,
    size_checks,
    unmasked_limit,
)
from companion.lab.checks import at_most, claim, exponent_at_most, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Probability, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "zou2018-thm5.1v": "outside-regime",
    "zou2018-thm5.1v-limit": "holds",
    "zou2018-thm5.1vi-vii": "outside-regime",
}
# The norm is the end of a spectrum, which a matrix of width m meets to about m^(-2/3).
WITHIN = 0.15


class Settings(DeepSettings):
    """What is run; inputs have as many coordinates as a layer has units, so all factors are square.

    Attributes:
        width: m, of the networks of several depths.
        depths: L, in increasing order.
        depth: L, of the networks of several widths.
        widths: m, in increasing order.
        sparsities: s, how many entries of a sparse vector may be other than 0; all of them where
            there are fewer.
        delta: failure probability, with which the theorem's width is told.
    """

    seeds: Count = 12
    count: Count = 4
    width: Size = 256
    depths: SeveralSizes = (2, 4, 8)
    depth: Size = 2
    widths: SeveralSizes = (64, 128, 256, 512)
    sparsities: SeveralSizes = (4, 16, 64, 256)
    delta: Probability = 0.1

    @property
    def asked(self) -> float:
        """(5.1) with constant 1 for the deepest networks, with phi as small as it has to be."""
        deepest = self.depths[-1]
        return asked_width(self.count, deepest, min(1 / deepest, self.mu), self.delta)


QUICK = Settings()
PAPER = Settings(seeds=20, width=1024, depths=(2, 4, 8, 16, 32), widths=(128, 256, 512, 1024, 2048))


def cost(settings: Settings) -> Cost:
    """Products of square matrices, a product for their norm, and alternation between vectors."""
    s = settings
    sizes = [(s.width, depth) for depth in s.depths] + [(m, s.depth) for m in s.widths]
    flops = sum(2.0 * (depth + 1) * m**3 for m, depth in sizes)
    flops += sum(2.0 * len(s.sparsities) * 8 * 41 * m**2 for m, _ in sizes)
    return Cost(s.seeds * flops, 8 * max((depth + 4) * m**2 for m, depth in sizes))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks of width {s.width} with {listed(s.depths)} hidden layers, and with {s.depth} "
        f"layers of width {listed(s.widths)}, drawn anew {s.seeds} times; inputs are as long as "
        "layers are wide, uniform on the unit sphere but for their last coordinate "
        rf"$\mu={s.mu:g}$. Nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """The same measurements for several depths, and for several widths."""
    s = settings
    deep = sweep(
        "depths", partial(_measured, s, device, width=s.width), seed=s.each_seed, depth=s.depths
    )
    wide = sweep(
        "widths", partial(_measured, s, device, depth=s.depth), seed=s.each_seed, width=s.widths
    )
    wide = wide.rename({str(name): f"{name}_wide" for name in wide.data_vars})
    limits = {
        f"{name}_limit": ("depth", [limit(depth) for depth in s.depths])
        for name, limit in (("masked", masked_limit), ("unmasked", unmasked_limit))
    }
    return xr.merge([deep.assign(limits), wide]).assign_attrs(data=f"{s.data}, d = m")


def _measured(settings: Settings, device: str, *, seed: int, width: int, depth: int) -> Variables:
    s = settings.model_copy(update={"dimension": width})
    problem = draw(s, device, seed=seed, width=width, depth=depth)
    return measured_products(problem, s.sparsities)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents in depth, width and sparsity, and norms over their limits."""
    deep, last = found.isel(depth=-1), settings.depths[-1]
    return {
        "unmasked_slope": exponent(found.unmasked, "depth"),
        "masked_slope": exponent(found.masked, "depth"),
        "masked_norm": deep.masked.mean(),
        "masked_limit": masked_limit(last),
        "unmasked_norm": deep.unmasked.mean(),
        "unmasked_limit": unmasked_limit(last),
        "deepest": last,
        "output_form_slope": exponent(found.output_form, "sparsity"),
        "bilinear_slope": exponent(found.bilinear, "sparsity"),
        "output_form_depth": exponent(found.output_form, "depth"),
        "bilinear_depth": exponent(found.bilinear, "depth"),
        "asked": settings.asked,
    }


def _over_scale(found: xr.Dataset, form: str, along: str, width: int = 0) -> xr.DataArray:
    """The largest over s of (vi) over sqrt(s log m), or of (vii) over sqrt(s log m / m).

    Args:
        found: by `run`.
        form: name of the array.
        along: `width`, or `depth` where all networks have one width.
        width: that one.
    """
    m = found.width if along == "width" else width
    scale = (found.sparsity * np.log(m)) ** 0.5
    if form.startswith("bilinear"):
        scale = scale / m**0.5
    largest: xr.DataArray = (found[form] / scale).max("sparsity", skipna=False)
    return largest


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Constants are unknown, so exponents are judged, from above."""
    return [_norm(settings, found), _limit(settings, found), _sparse(settings, found)]


def _outside(settings: Settings) -> str:
    """In which way (5.1) is unmet; nothing where it is met."""
    if settings.width >= settings.asked:
        return ""
    return (
        f"(5.1) with constant 1 asks for a width of {number(settings.asked, '.1e')} at "
        f"$L={settings.depths[-1]}$, and {settings.width} was run"
    )


def _norm(settings: Settings, found: xr.Dataset) -> Verdict:
    law = exponent(found.unmasked, "depth")
    return claim(
        "zou2018-thm5.1v",
        r"$\big\lVert W_{l_2}^\top\prod_{r=l_1}^{l_2-1}\Sigma_{r,i}W_r^\top\big\rVert_2\le\bar C'L$"
        r" (version 3; exponential in $L$ in version 1)",
        exponent_at_most(
            "the norm of the product of all layers in the depth $L$", found.unmasked, 1, 0, "depth"
        ),
        exponent_at_most("that norm in the width $m$", found.unmasked_wide, 0, 0.1),
        outside=_outside(settings),
        holds="The norm of a product of masked matrices does not grow with the width, and with the "
        f"depth like $L^{{{law:.2f}}}$, nearly the square root of what version 3 allows.",
        fails="The norm of a product of masked matrices grows faster than the depth, or with the "
        "width.",
    )


def _limit(settings: Settings, found: xr.Dataset) -> Verdict:
    masked, unmasked = (
        (found[name] / found[f"{name}_limit"]).mean("seed", skipna=False)
        for name in ("masked", "unmasked")
    )
    both = xr.concat([masked, unmasked], "product", coords="minimal", compat="override")
    return claim(
        "zou2018-thm5.1v-limit",
        r"At great width $\lVert\prod_{r=1}^L\Sigma_rW_r^\top\rVert_2^2\to(1+z)(1+2z)^L/z$ with "
        r"$z=(1-L+\sqrt{L^2+1})/2L$, which is $3+2\sqrt2$ for one layer and grows like $2eL$; with "
        r"an unmasked last factor $2(1+z)^2(1+2z)^{L-1}/z$ with $2Lz^2+(2L-3)z=1$",
        at_most(
            "how far the mean norm is off the limit, as a share, at any depth",
            abs(both - 1),
            WITHIN,
        ),
        note(
            f"The norm over the limit is {spread(masked.values, '.3f', 'depths')} with all masks, "
            f"and {spread(unmasked.values, '.3f', 'depths')} without the last"
        ),
        holds="The norms are those of free probability: the masks and matrices of different layers "
        r"act as if they were free, and the norm is close to $\sqrt{2eL}$.",
        fails="The norms are not those of free probability.",
    )


def _sparse(settings: Settings, found: xr.Dataset) -> Verdict:
    width = settings.width
    return claim(
        "zou2018-thm5.1vi-vii",
        r"for unit vectors $a$, $b$ with $s$ entries that are not 0, "
        r"$v^\top(\prod_{r=l}^L\Sigma_{r,i}W_r^\top)a\le\bar C'L\sqrt{s\log M}$ and "
        r"$b^\top W_{l_2}^\top(\prod_{r=l_1}^{l_2-1}\Sigma_{r,i}W_r^\top)a\le\bar C'L"
        r"\sqrt{s\log M/m}$",
        *size_checks("the largest form (vi)", found.output_form),
        *size_checks("the form (vii), as large as alternation makes it,", found.bilinear),
        exponent_at_most(
            r"the form (vi) over $\sqrt{s\log m}$, at its largest over $s$, in the width $m$",
            _over_scale(found, "output_form_wide", "width"), 0, 0.1,
        ),
        exponent_at_most(
            r"the form (vii) over $\sqrt{s\log m/m}$, at its largest over $s$, in $m$",
            _over_scale(found, "bilinear_wide", "width"), 0, 0.1,
        ),
        exponent_at_most(
            "the first of these in the depth $L$",
            _over_scale(found, "output_form", "depth", width), 1, 0, "depth",
        ),
        exponent_at_most(
            "the second of these in the depth $L$",
            _over_scale(found, "bilinear", "depth", width), 1, 0, "depth",
        ),
        note(
            "The form (vi) is the largest there is; of (vii) alternation shows a lower bound on "
            "the largest"
        ),
        outside=_outside(settings),
        holds=r"Both forms grow like $\sqrt s$ at most and more slowly than the depth, and with "
        "the width as the theorem says.",
        fails=r"A form grows faster than $\sqrt s$, than the depth, or with another power of the "
        "width.",
    )  # fmt: skip


CONTROLS = {
    "zou2018-thm5.1v": Lie(
        r"every norm is multiplied by $L^{3/4}$",
        lambda settings, found: found.assign(unmasked=found.unmasked * found.depth**0.75),
    ),
    "zou2018-thm5.1v-limit": Lie(
        r"every norm with all masks is multiplied by $L^{1/4}$",
        lambda settings, found: found.assign(masked=found.masked * found.depth**0.25),
    ),
    "zou2018-thm5.1vi-vii": Lie(
        r"every form (vii) is multiplied by $s^{1/4}$",
        lambda settings, found: found.assign(bilinear=found.bilinear * found.sparsity**0.25),
    ),
}
