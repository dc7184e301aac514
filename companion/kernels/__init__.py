"""Gram matrices of the gradients: at finite width, at infinite width, layer by layer."""

from companion.kernels.boundary import gram_change_bound, near_boundary
from companion.kernels.eigenvalues import lambda_max, lambda_min, spectral_norm
from companion.kernels.empirical import (
    empirical_gram,
    gram_memory,
    gram_tiles,
    layer_grams,
)
from companion.kernels.infinite import (
    infinite_width_gram,
    infinite_width_layer_ntks,
    infinite_width_memory,
    infinite_width_nngp,
    infinite_width_ntk,
    infinite_width_output_gram,
    infinite_width_tiles,
)
from companion.kernels.operator import GramOperator, gram_operator
from companion.kernels.tiles import GramTile

__all__ = [
    "GramOperator",
    "GramTile",
    "empirical_gram",
    "gram_change_bound",
    "gram_memory",
    "gram_operator",
    "gram_tiles",
    "infinite_width_gram",
    "infinite_width_layer_ntks",
    "infinite_width_memory",
    "infinite_width_nngp",
    "infinite_width_ntk",
    "infinite_width_output_gram",
    "infinite_width_tiles",
    "lambda_max",
    "lambda_min",
    "layer_grams",
    "near_boundary",
    "spectral_norm",
]
