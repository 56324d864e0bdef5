"""Settings: flags over environment over defaults, each checked and named."""

from __future__ import annotations

import pytest

from dspex_pool.config import (
    LOG_LEVELS,
    Config,
    describe_settings,
    effective_settings,
    read_config,
    trace_settings,
)
from dspex_protocol import DSPexError


def refusal(environment: dict[str, str], flags: dict[str, str]) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        read_config(environment, flags)
    return caught.value


def test_nothing_set_gives_the_defaults() -> None:
    """An empty environment without flags is `Config()`."""
    assert Config() == read_config({}, {})


def test_a_variable_sets_its_setting() -> None:
    """Each type is read from text: integer, number, boolean, string."""
    environment = {
        "DSPEX_WORKERS": "7",
        "DSPEX_GRACE_S": "0.5",
        "DSPEX_ZYGOTE": "off",
        "DSPEX_LM": "openai/gpt-4o-mini",
        "DSPEX_LOG_LEVEL": "debug",
    }
    expected = Config(workers=7, grace_s=0.5, zygote=False, lm="openai/gpt-4o-mini", log_level="debug")
    assert expected == read_config(environment, {})


def test_a_flag_goes_before_its_variable() -> None:
    """Who types a flag means it."""
    assert 3 == read_config({"DSPEX_WORKERS": "7"}, {"workers": "3"}).workers


def test_an_empty_variable_counts_as_not_set() -> None:
    """A service file has no other way to take one back."""
    assert Config() == read_config({"DSPEX_WORKERS": "", "DSPEX_ZYGOTE": ""}, {})


def test_other_variables_are_left_alone() -> None:
    """The environment is full of what is not ours."""
    assert Config() == read_config({"PATH": "/bin", "DSPEX_SOMETHING": "x", "WORKERS": "9"}, {})


@pytest.mark.parametrize(("text", "expected"), [("TRUE", True), ("1", True), ("No", False), ("0", False)])
def test_a_boolean_is_read_in_any_case(text: str, expected: bool) -> None:
    """True and false, yes and no, on and off, 1 and 0."""
    assert expected is read_config({}, {"zygote": text}).zygote


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("workers", "0"),
        ("workers", "257"),
        ("workers", "two"),
        ("workers", "2.5"),
        ("max_frame_bytes", "4095"),
        ("grace_s", "-1"),
        ("grace_s", "nan"),
        ("boot_timeout_s", "inf"),
        ("zygote", "maybe"),
        ("log_level", "loud"),
    ],
)
def test_what_is_not_allowed_is_refused_by_the_name_it_was_given_by(name: str, text: str) -> None:
    """The variable where a variable said it, the flag where a flag did; with expected and got."""
    variable, flag = f"DSPEX_{name.upper()}", f"--{name.replace('_', '-')}"
    for source, failure in ((variable, refusal({variable: text}, {})), (flag, refusal({}, {name: text}))):
        assert "invalid_argument" == failure.code
        assert source == failure.details["field"]
        assert f"string {text!r}" == failure.details["got"]
        assert failure.message.startswith(f"{source}: expected ")


def test_a_refusal_tells_the_range() -> None:
    """Nobody has to look it up."""
    assert "an integer from 1 to 256" == refusal({}, {"workers": "0"}).details["expected"]
    assert all(level in str(refusal({}, {"log_level": "x"}).details["expected"]) for level in LOG_LEVELS)


def test_every_setting_says_what_it_is() -> None:
    """Type in words, default, variable, flag and reason, none of them empty."""
    rows = describe_settings()
    assert list(Config.__dataclass_fields__) == [row["name"] for row in rows]
    assert all(row["type"] and row["why"] for row in rows)
    workers = rows[0]
    assert ("--workers", "DSPEX_WORKERS", 2) == (workers["flag"], workers["variable"], workers["default"])


def test_sources_are_told_apart() -> None:
    """Flag, environment, default, each by the name one would change it by."""
    sources = trace_settings({"DSPEX_WORKERS": "7", "DSPEX_LM": "sim/a"}, {"workers": "3"})
    told = {name: (sources[name].kind, sources[name].name) for name in ("workers", "lm", "grace_s")}
    assert {
        "workers": ("flag", "--workers"),
        "lm": ("environment", "DSPEX_LM"),
        "grace_s": ("default", "DSPEX_GRACE_S"),
    } == told


def test_effective_settings_have_value_and_source() -> None:
    """What `dspex config` prints."""
    rows = {row["name"]: row for row in effective_settings({"DSPEX_WORKERS": "7"}, {"grace_s": "1"})}
    assert (7, "environment") == (rows["workers"]["value"], rows["workers"]["source"])
    assert (1.0, "flag") == (rows["grace_s"]["value"], rows["grace_s"]["source"])
    assert (True, "default") == (rows["zygote"]["value"], rows["zygote"]["source"])
