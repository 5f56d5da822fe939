"""What a process holds, told apart from what it was lent: malloc's bytes in use, and Python's own small blocks.

The resident size says less: glibc keeps what was freed, in up to eight arenas a core, and gives little of it back.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import sys


class Malloc(ctypes.Structure):
    """What glibc tells of its memory, in bytes: `mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def held() -> tuple[float, int]:
    """Return what is in use: MB of malloc's (tensors, images, SQLite), and the number of Python's own small blocks."""
    gc.collect()
    now, libc = Malloc(), ctypes.CDLL(None)
    if hasattr(libc, "mallinfo2"):      # glibc's; of others Python's blocks alone are told
        libc.mallinfo2.restype = Malloc
        now = libc.mallinfo2()
    return (now.uordblks + now.hblkhd) / 1e6, sys.getallocatedblocks()


def tell_when_asked() -> None:
    """Let this process write what it holds as a line to its output, "MB BLOCKS", whenever it gets SIGUSR1."""
    signal.signal(signal.SIGUSR1, lambda *_: print("{:.2f} {}".format(*held()), flush=True))
