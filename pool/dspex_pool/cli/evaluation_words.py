"""What the words of `dspex evaluate` stand for: programs and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from dspex_pool.cli.call import name_or_map
from dspex_pool.client import Client
from dspex_pool.notation import from_json
from dspex_protocol import Meta, error, invalid_argument

_NAMED: Final = re.compile(r"([A-Za-z_][\w-]*)=(.+)", re.DOTALL)
_EXPECTED: Final = "NAME:OPTION=VALUE,… or a spec in JSON, such as exact_match:field=answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is measured.

    Attributes:
        spec: A spec that goes with the call; None where a stored program is named, or will be.
        state: What a program of that spec has learned, which has to be stored.
        document: What an export wrote, likewise.
        signature: For the rows; None where it is not known here.
    """

    spec: dict[str, object] | None = None
    state: dict[str, object] | None = None
    document: str | None = None
    signature: object = None

    async def named(self, client: Client, write_id: str | None = None) -> tuple[dict[str, object], Meta]:
        """Entries of the payload and of meta that name it; stored where that must be, once for a write_id.

        Raises:
            DSPexError: why it cannot be stored.
        """
        once: Meta = {} if write_id is None else {"write_id": write_id}
        if self.document is not None:
            made = await client.call("program.import", {"document": self.document}, **once)
        elif self.state is not None:
            made = await client.call("program.create", {"spec": self.spec, "state": self.state}, **once)
        else:
            return ({} if self.spec is None else {"spec": self.spec}), {}
        stored = cast("dict[str, Any]", made)
        return {}, {"program": str(stored["program"]), "version": int(stored["version"])}


def read_program(word: str | None, module: str | None) -> Program:
    """A program of a word: a signature, or a file in JSON; None for one that is stored.

    Raises:
        CallerError: `invalid_argument` naming what cannot be.
    """
    if word is None:
        if module is not None:
            raise error("invalid_argument", "--module: the program of --program has its module")
        return Program()
    if "->" in word or word.startswith("{"):
        signature = name_or_map("PROGRAM", word)
        return Program(spec={"module": module or "Predict", "signature": signature}, signature=signature)
    if module is not None:
        raise error("invalid_argument", "--module: the program of a file has its module")
    return _of_file(word)


def _of_file(file: str) -> Program:
    try:
        text = Path(file).read_text(encoding="utf-8")
        content = from_json(json.loads(text))
    except OSError as reason:
        raise invalid_argument("PROGRAM", f"a file that can be read ({reason.strerror})", file) from None
    except ValueError as reason:
        raise error("invalid_argument", f"{file}: no JSON ({reason})") from None
    fields = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    if isinstance(fields.get("versions"), list):
        return Program(document=text)
    spec, state = (fields, None) if "module" in fields else (fields.get("spec"), fields.get("state"))
    if not isinstance(spec, dict):
        expected = "a spec {module, signature, …}, {spec, state} or an export of a program"
        raise invalid_argument(file, expected, spec)
    known = cast("dict[str, object]", spec)
    learned = cast("dict[str, object]", state) if isinstance(state, dict) and state else None
    return Program(spec=known, state=learned, signature=known.get("signature"))


def read_metrics(words: Sequence[str]) -> dict[str, object]:
    """Metrics by name. One without a name of its own is called after its kind, a second one `kind_2`.

    Raises:
        CallerError: `invalid_argument` naming the word.
    """
    metrics: dict[str, object] = {}
    for word in words:
        parts = _NAMED.fullmatch(word)
        name, spec = (parts[1], _metric(parts[2])) if parts else (None, _metric(word))
        name = name or _free_name(str(spec.get("metric", "metric")), metrics)
        if name in metrics:
            raise invalid_argument("--metric", f"one metric of the name {name}", word)
        metrics[name] = spec
    return metrics


def _metric(word: str) -> Mapping[str, object]:
    if word.startswith("{"):
        return cast("Mapping[str, object]", name_or_map("--metric", word))
    kind, _, told = word.partition(":")
    options: dict[str, object] = {}
    for option in told.split(",") if told else ():
        name, equals, value = option.partition("=")
        if not equals or not name or not kind:
            raise invalid_argument("--metric", _EXPECTED, word)
        options[name] = option_value(value)
    return {"metric": kind, "options": options}


def _free_name(kind: str, taken: Mapping[str, object]) -> str:
    number = 1
    while (name := kind if number == 1 else f"{kind}_{number}") in taken:
        number += 1
    return name


def option_value(text: str) -> object:
    """The value of an option: JSON where it is some, else the text itself."""
    try:
        return from_json(json.loads(text))
    except ValueError:
        return text
