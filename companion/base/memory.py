"""Memory that has been freed is kept for the next step instead of going back to the system.

A step of training, or a Gram matrix, allocates the same large blocks again and again. The C
library of Linux returns such blocks to the system as soon as they are free, and every page of the
next ones is then handed out, and cleared, anew: more than a tenth of the time of a step.

A limit of that library before 2.38, with this setting and without it: a block is not reused when a
small one that stays, such as a recorded number, has been cut from it. So a run may take one large
block more with every record that it keeps; where many records are kept of a large network, record
less often, by `Every`.
"""

import contextlib
import ctypes

# Of mallopt(3): above this size blocks are mapped on their own; above this much, free memory at
# the end of the heap is given back. The first has 32 MiB as its largest allowed value.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM, _TRIMMED_FROM = 2**25, 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GiB of freed memory; without effect but on glibc.

    The commands and experiments of this project say so when they start. Importing it does not: a
    script of one's own says it once, before it trains, or never.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM)
