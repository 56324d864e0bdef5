"""The wire's descriptors, taken before anything is imported that could write to them.

Imports nothing but `os`, so that it can run first.
"""

import os
import stat


def take_stdio() -> tuple[int, int] | None:
    """Move fds 0 and 1 away and point what is left at harmless places.

    Afterwards fd 0 is /dev/null and fd 1 is stderr: a `print`, a C library or a child
    cannot reach the frames. (One stray line on a BEAM port with 4-byte lengths makes it
    wait for a frame of 1.2 GB.)

    Returns:
        The descriptors of the wire in and out, neither inherited by children; None where one
        of the two is closed, or a terminal with a person at it.
    """
    wire = None
    if not (is_terminal_or_missing(0) or is_terminal_or_missing(1)):
        wire = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2 if _is_open(2) else null, 1)
    if null > 2:  # else it took the place of one that was closed, and fills it well
        os.close(null)
    return wire


def is_terminal_or_missing(descriptor: int) -> bool:
    """Whether a descriptor cannot be a wire: closed, or a terminal with a person at it."""
    if not _is_open(descriptor):
        return True
    return stat.S_ISCHR(os.fstat(descriptor).st_mode) and os.isatty(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
