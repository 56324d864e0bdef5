"""`dspex schema`: what the server can do, for people and for machines."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from dspex_pool.cli.exits import BAD_ARGUMENTS, OK
from dspex_pool.cli.schema import run, schema_lines
from dspex_pool.operations import HOP_METHODS, OWN_METHODS
from dspex_protocol import CODES


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The JSON form, asked for once."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert OK == run(["--json"])
    return json.loads(printed.getvalue())  # type: ignore[no-any-return]


def test_json_lists_methods_modules_types_and_errors(described: dict[str, Any]) -> None:
    """The server's own methods and the workers', none of the inner hop; every code."""
    methods = set(described["methods"])
    assert set(OWN_METHODS) | {"program.predict", "signature.describe", "lm.list", "system.echo"} <= methods
    assert not methods & HOP_METHODS
    assert set(CODES) == set(described["errors"])
    assert {"Predict", "ChainOfThought"} <= {
        module["name"] for module in described["modules"] if module["available"]
    }


def test_people_read_every_part(described: dict[str, Any]) -> None:
    """Each method with each of its parameters, each code, each available module has its line."""
    lines = list(schema_lines(described))
    for name, method in described["methods"].items():
        at = next(n for n, line in enumerate(lines) if line.startswith(f"  {name}  "))
        for parameter in method["parameters"] or {}:
            assert any(line.startswith(f"      {parameter}: ") for line in lines[at:])
    assert all(any(line.startswith(f"  {code}  ") for line in lines) for code in described["errors"])
    assert ["METHODS", "MODULES", "TYPES", "ERRORS", "VERSIONS"] == [line for line in lines if line.isupper()]


def test_a_required_parameter_says_so(described: dict[str, Any]) -> None:
    """Default and required are told apart, with the reason where there is one."""
    lines = list(schema_lines({"methods": {"program.predict": described["methods"]["program.predict"]}}))
    (inputs,) = (line for line in lines if line.strip().startswith("inputs: "))
    assert "      inputs: a map of string to (any value), required; value by input field" == inputs


def test_an_unknown_method_is_a_bad_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the names that exist."""
    assert BAD_ARGUMENTS == run(["program.perdict"])
    assert "program.predict" in capsys.readouterr().err
