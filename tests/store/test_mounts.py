"""Which file system a file is on: by the longest mount point above it."""

from __future__ import annotations

import pytest

from dspex_pool.store.mounts import NETWORK_TYPES, network_type, read_mounts

MOUNTS = """\
proc /proc proc rw,relatime 0 0
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/local xfs rw 0 0
host /mnt/with\\040space 9p rw 0 0
me@host: /home/local/ssh fuse.sshfs rw 0 0
//server/share /srv cifs rw 0 0
tmpfs /srv tmpfs rw 0 0
short
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib/dspex", None),
        ("/home/me/.local/state", "nfs4"),
        ("/home", "nfs4"),
        ("/homely", None),
        ("/home/local/me", None),
        ("/home/localhost", "nfs4"),
        ("/home/local/ssh/x", "fuse.sshfs"),
        ("/mnt/with space/x", "9p"),
        ("/mnt/with", None),
        ("/srv/x", None),  # hidden by a later mount
    ],
)
def test_the_longest_mount_point_counts(path: str, expected: str | None) -> None:
    """By whole names of folders, and of two at one point the later."""
    assert expected == network_type(path, MOUNTS)


@pytest.mark.parametrize("type_", sorted(NETWORK_TYPES))
def test_a_root_over_a_network(type_: str) -> None:
    """Everything is on it that is on nothing else."""
    assert type_ == network_type("/anything", f"x / {type_} rw 0 0\n")


def test_without_mounts_nothing_is_known() -> None:
    """As where the kernel does not tell them."""
    assert None is network_type("/x", "")


def test_the_mounts_of_this_machine_can_be_read() -> None:
    """The root is one of them."""
    assert any(line.split()[1] == "/" for line in read_mounts().splitlines())
