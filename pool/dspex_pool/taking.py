"""The wire's descriptors, taken before anything is imported that could write to them.

Imports nothing but `os`, so that it can run first.
"""

import os
import stat


def take_stdio() -> tuple[int, int]:
    """Move fds 0 and 1 away and point what is left at harmless places.

    Afterwards fd 0 is /dev/null and fd 1 is stderr: a `print`, a C library or a child
    cannot reach the frames. (One stray line on a BEAM port with 4-byte lengths makes it
    wait for a frame of 1.2 GB.)

    Returns:
        The descriptors of the wire in and out, neither inherited by children.
    """
    wire_in, wire_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


def is_terminal_or_missing(descriptor: int) -> bool:
    """Whether a descriptor cannot be a wire: closed, or a terminal with a person at it."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return True
    return stat.S_ISCHR(mode) and os.isatty(descriptor)
