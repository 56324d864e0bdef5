"""`dspex config`: every setting in force, and where it came from."""

from __future__ import annotations

import argparse
import json
import os
import sys

from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.cli.serve import read_flags
from dspex_pool.settings import effective_settings
from dspex_protocol import DSPexError

EPILOG = """\
Flags of `dspex serve`, such as `--workers 4`, may be added to see what they would do.
The order is: flag, then environment, then file, then default; an empty variable counts as not set.
The file is TOML, one line a setting (`workers = 4`), named by --config-file or DSPEX_CONFIG_FILE.
"""


@exits_with_code
def run(arguments: list[str]) -> int:
    """Print the settings.

    Returns:
        0, or 2 when a flag, a variable or the file cannot be read.
    """
    given, flags = _parser().parse_known_args(arguments)
    try:
        settings = effective_settings(os.environ, read_flags(flags))
    except DSPexError as refusal:
        print(f"dspex config: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    if given.json:
        print(json.dumps(settings, indent=2))
    else:
        print("\n".join(_lines(settings)))
    return OK


def _parser() -> argparse.ArgumentParser:
    # argparse and not typer, in every command: typer costs 112 ms of import, and commands
    # share the start of `dspex serve`, which has 300 ms until it has answered `hello`.
    parser = argparse.ArgumentParser(
        prog="dspex config",
        description="The settings in force, and where each came from.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="an array of objects, for machines")
    return parser


def _lines(settings: list[dict[str, object]]) -> list[str]:
    lines: list[str] = []
    for setting in settings:
        value = setting["value"]
        shown = "unset" if value is None else json.dumps(value, ensure_ascii=False)
        unit = f" ({setting['unit']})" if setting["unit"] else ""
        lines.append(f"{setting['name']} = {shown}  ({_origin(setting)})")
        lines.append(
            f"    {setting['why']}: {setting['type']}{unit}; {setting['flag']}, {setting['variable']}"
        )
    return lines


def _origin(setting: dict[str, object]) -> str:
    if setting["source"] == "default":
        return "default"
    where = "" if setting["source_file"] is None else f" in {setting['source_file']}"
    return f"from {setting['source_name']}{where}"
