"""File systems of a test's own, that can be full or read-only; where that is permitted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(point: Path, size_kib: int) -> Generator[Path]:
    """A file system of that size in memory; skips the test where nothing may be mounted."""
    point.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={size_kib}k,mode=0700", "tmpfs", str(point)):
        pytest.skip("file systems may not be mounted here")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def use_up(ballast: Path) -> None:
    """Leave no byte of its disk free."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            os.fsync(file.fileno())


@contextlib.contextmanager
def view_of(source: Path, point: Path) -> Generator[Path]:
    """The same folder at another place, where nobody can write until `allow_writes`."""
    point.mkdir()
    if not _mount("--bind", str(source), str(point)):
        pytest.skip("file systems may not be mounted here")
    try:
        assert _mount("-o", "remount,bind,ro", str(point))
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def allow_writes(point: Path) -> None:
    """Let a view be written from now on."""
    assert _mount("-o", "remount,bind,rw", str(point))


def _mount(*arguments: str) -> bool:
    if os.geteuid() != 0:
        return False
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def without_permission(folder: Path) -> Generator[None]:
    """Nothing of the folder can be reached, not even by root, who is somebody else meanwhile."""
    mode = folder.stat().st_mode
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
        folder.chmod(mode)
