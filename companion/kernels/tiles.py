"""How large matrices are cut so that what is computed at once stays in the cache."""

import math
from itertools import pairwise


def row_blocks(count: int, rows: int) -> list[slice]:
    """Slices of about `rows`, all of nearly one length."""
    blocks = max(1, math.ceil(count / rows))
    ends = [count * block // blocks for block in range(blocks + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


LEAST_TILE = 16
