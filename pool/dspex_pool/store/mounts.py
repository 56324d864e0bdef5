"""Which file system a file is on, and whether it comes over a network. Pure.

SQLite's WAL needs memory that all processes with the file share, and locks that mean something:
over a network neither is to be had, and what goes wrong there is found out after it has.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")

NETWORK_TYPES: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs")
    + ("beegfs", "gpfs", "ocfs2", "gfs2", "orangefs", "coda", "davfs", "ncpfs", "acfs", "panfs")
    + ("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone")
    + ("fuse.davfs", "fuse.mount_davfs2", "fuse.juicefs", "fuse.seaweedfs", "fuse.goofys", "fuse.smbnetfs")
)
"""As the kernel names them. One that is not here and should be is no disaster until two machines
write to one file."""


def read_mounts() -> str:
    """The mounts of this process; empty where the kernel does not tell them."""
    try:
        return MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""


def network_type(path: str, mounts: str) -> str | None:
    """The type of the file system that a path is on if that is one over a network, else None.

    Args:
        path: Absolute, without symbolic links. It needs not exist.
        mounts: As in `/proc/self/mounts`: device, mount point, type, and more.
    """
    best, found = -1, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescape(fields[1])
        # A later mount at the same point hides the earlier one.
        if len(point) >= best and _is_below(path, point):
            best, found = len(point), fields[2]
    return found if found in NETWORK_TYPES else None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip(os.sep) + os.sep)


def _unescape(text: str) -> str:
    r"""Space, tab, newline and backslash come as `\040` and the like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
