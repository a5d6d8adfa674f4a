"""Keep freed memory in the process: on a CPU, fresh pages for every large tensor cost up to half of a training step."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of returning them, and PyTorch to ask for huge pages. Linux only.

    Call before the first large tensor. The process keeps its peak memory until it ends; LIGHTNING_META_MALLOC=0 leaves
    the allocator as it is.
    """
    if not sys.platform.startswith("linux") or os.environ.get("LIGHTNING_META_MALLOC") == "0":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 * 2**20)
