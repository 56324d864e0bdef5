"""Where fuzzing starts: the golden vectors, as inputs of `oracle.check`."""

from __future__ import annotations

from pathlib import Path

from tests.protocol.notation import Vector, read_bytes, vectors

# Long vectors are long by repetition; a fuzzer makes more of short ones.
MAX_SEED_BYTES = 1024


def seeds() -> list[bytes]:
    """Each short vector behind the byte that chooses its check."""
    inputs = [_input(0, vector) for vector in vectors("value")]
    inputs += [_input(1, vector) for vector in vectors("body")]
    inputs += [_input(1, step) for vector in vectors("conversation") for step in vector["steps"]]
    inputs += [b"\x02\x04" + read_bytes(vector) for vector in vectors("stream")]
    return [one for one in inputs if len(one) <= MAX_SEED_BYTES]


def write_seeds(folder: Path) -> None:
    """A file for each seed, as libFuzzer reads them."""
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number:04}").write_bytes(seed)


def _input(check: int, vector: Vector) -> bytes:
    return bytes([check]) + read_bytes(vector)
