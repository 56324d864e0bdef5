"""Writes the golden vectors from their source: `python protocol/vectors/generate.py`.

With `--check` it writes nothing and says whether the files are up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from source import conversations, envelope, extensions, framing, hostile, messages, values
from source.notation import Vector

FOLDER = Path(__file__).parent

FILES: dict[str, tuple[str, list[Vector]]] = {
    "framing.json": ("stream", framing.VECTORS),
    "envelope.json": ("body", envelope.VECTORS),
    "values.json": ("value", values.VECTORS),
    "extensions.json": ("value", extensions.VECTORS),
    "hostile.json": ("value", hostile.VECTORS),
    "calls.json": ("body", messages.CALLS),
    "streams.json": ("body", messages.STREAMS),
    "failures.json": ("body", messages.FAILURES),
    "conversations.json": ("conversation", conversations.VECTORS),
}


def render(shape: str, vectors: list[Vector]) -> str:
    """A file's text: one line for each field of a vector, which is easy to read and to diff."""
    rendered = ",\n".join(_render_vector(vector) for vector in vectors)
    return f'{{"format": 1, "shape": "{shape}", "vectors": [\n{rendered}\n]}}\n'


def _render_vector(vector: Vector) -> str:
    fields = [f" {json.dumps(name)}: {_render_field(name, value)}" for name, value in vector.items()]
    return "{\n" + ",\n".join(fields) + "\n}"


def _render_field(name: str, value: object) -> str:
    if name == "steps" and isinstance(value, list):
        return "[\n" + ",\n".join("  " + json.dumps(step) for step in value) + "\n ]"
    return json.dumps(value)


def main() -> int:
    """Write or check the files; the number is for the shell."""
    stale = [name for name, content in FILES.items() if not _is_current(FOLDER / name, render(*content))]
    if "--check" in sys.argv:
        print(f"not up to date: {', '.join(stale)}" if stale else "up to date")
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(render(*FILES[name]), encoding="ascii")
    print(f"{sum(len(vectors) for _, vectors in FILES.values())} vectors in {len(FILES)} files")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="ascii") == text


if __name__ == "__main__":
    sys.exit(main())
