"""`dspex schema`: every method with its parameters, the modules, types and errors."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER, OK, exits_with_code
from dspex_pool.cli.readable import report
from dspex_pool.client import Client
from dspex_protocol import DSPexError, error

SECTIONS: Final = ("methods", "modules", "types", "errors", "versions")
EPILOG: Final = """\
A server of the installed version is asked (system.describe), so this is what calls are
checked against.

exit codes: 0 ok, 1 the call failed, 2 bad arguments, 3 no server or no worker
"""


@exits_with_code
def run(arguments: list[str]) -> int:
    """Print what the server can do.

    Returns:
        0; 2 for a method that does not exist; 3 without a server or worker.
    """
    given = _parser().parse_args(arguments)
    try:
        described = asyncio.run(_describe(server_flags(())))
    except DSPexError as failure:
        return report(failure, as_json=given.json)
    except (OSError, TimeoutError) as reason:
        print(f"dspex schema: no server: {reason or 'it did not answer in time'}", file=sys.stderr)
        return NO_SERVER
    if given.method is not None:
        if given.method not in described["methods"]:
            known = ", ".join(described["methods"])
            print(f"dspex schema: there is no method {given.method!r}; there are: {known}", file=sys.stderr)
            return BAD_ARGUMENTS
        described = {"methods": {given.method: described["methods"][given.method]}}
    print(json.dumps(described, indent=2) if given.json else "\n".join(schema_lines(described)))
    return OK


async def _describe(flags: list[str]) -> dict[str, Any]:
    async with Client.start(flags=flags) as client:
        described = await client.call("system.describe", {})
    if not isinstance(described, dict):
        raise error("internal", "what system.describe answered is no map")
    return described  # pyright: ignore[reportUnknownVariableType]


def schema_lines(described: dict[str, Any]) -> Iterator[str]:
    """The description for people; a section that is missing is left out."""
    for number, section in enumerate(name for name in SECTIONS if name in described):
        if number:
            yield ""
        yield section.upper()
        yield from _SECTION_LINES[section](described[section])


def _methods(methods: dict[str, Any]) -> Iterator[str]:
    for name, method in methods.items():
        yield f"  {name}  {method['doc']}"
        if method["parameters"] is None:
            yield "      any value"
        else:
            yield from _fields(method["parameters"], "      ")


def _fields(fields: dict[str, Any], indent: str) -> Iterator[str]:
    for name, row in fields.items():
        need = "required" if row["required"] else f"default {json.dumps(row.get('default'))}"
        yield f"{indent}{name}: {row['type']}, {need}" + (f"; {row['doc']}" if row.get("doc") else "")
        yield from _fields(row.get("fields") or {}, indent + "    ")


def _modules(modules: list[dict[str, Any]]) -> Iterator[str]:
    for module in modules:
        if module["available"]:
            yield f"  {module['name']}  {module['doc']}"
            options: dict[str, Any] = module.get("options") or {}
            for name, option in options.items():
                yield f"      {name}: {option['type']}; {option['doc']}"
    missing = [module["name"] for module in modules if not module["available"]]
    if missing:
        yield f"  in this DSPy, not yet through DSPex: {', '.join(missing)}"


def _types(types: list[dict[str, Any]]) -> Iterator[str]:
    for row in types:
        name = row["name"] if row["form"] == "word" else f'{{"kind": "{row["name"]}", …}}'
        constraints = f"  {' '.join(row['constraints'])}" if row["constraints"] else ""
        yield f"  {name}{constraints}"


def _errors(errors: dict[str, Any]) -> Iterator[str]:
    for code, row in errors.items():
        yield f"  {code}  {row['meaning']} ({row['fault']}{', retryable' if row['retryable'] else ''})"


def _versions(versions: dict[str, Any]) -> Iterator[str]:
    for name, version in versions.items():
        yield f"  {name} {version}"


_SECTION_LINES: Final[Mapping[str, Callable[[Any], Iterator[str]]]] = {
    "methods": _methods,
    "modules": _modules,
    "types": _types,
    "errors": _errors,
    "versions": _versions,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex schema",
        description="Every method with its parameters; modules, types of signatures, errors.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", metavar="METHOD", nargs="?", help="only this one")
    parser.add_argument("--json", action="store_true", help="the description as it is, for machines")
    return parser
