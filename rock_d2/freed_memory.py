"""Memory that a process keeps after it has freed it."""

import ctypes
from contextlib import suppress

# The largest piece that glibc's malloc ever keeps for the next one who asks
# (DEFAULT_MMAP_THRESHOLD_MAX of its malloc.c).
KEPT_BYTES = 2**25


def keep_freed_memory() -> None:
    """Stops glibc from giving large arrays back to the system as soon as they are freed.

    Every image needs some megabytes and frees them again, and so do the maps of a CPU's step;
    touching new pages costs a mapper more than decoding a label. Other C libraries are left as
    they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h, bytes.
        mallopt(-1, 2**28)
        mallopt(-3, KEPT_BYTES)
