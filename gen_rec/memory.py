"""Keep the memory that one step has freed for the next."""

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
LARGEST_FROM_HEAP = 32 << 20
"""Bytes; glibc accepts no larger threshold on 64 bits."""
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc not to give freed memory back to the system.

    A step of training or of a search frees what it allocated. By default glibc returns large pieces to the system,
    which must find and clear them page by page in the next step; on a virtual machine that can cost as much as the
    arithmetic. The price is that the process stays as large as its largest step. The command line calls this; a library
    does not decide it for the process that uses it, so a service calls it itself.

    returns whether the allocator took it; elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    taken = bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP) and libc.mallopt(M_TRIM_THRESHOLD, NEVER))
    if not taken:
        logger.debug("glibc kept its own thresholds")
    return taken
