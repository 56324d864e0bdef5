"""Settings: flags over environment over defaults, each checked and named."""

from __future__ import annotations

import pytest

from dspex_pool.config import LOG_LEVELS, Config, describe_settings
from dspex_pool.settings import effective_settings, read_config, trace_settings
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


def test_the_least_number_of_workers_may_be_left_out() -> None:
    """Unset it is None, which is as many as workers; set it is a number like any other."""
    assert None is read_config({}, {}).min_workers
    assert 0 == read_config({"DSPEX_MIN_WORKERS": "0"}, {}).min_workers
    assert "an integer from 0 to 256" == refusal({}, {"min_workers": "few"}).details["expected"]


def test_more_workers_at_least_than_at_most_are_refused() -> None:
    """By the name that it was given by, with the other's."""
    failure = refusal({"DSPEX_MIN_WORKERS": "5"}, {"workers": "4"})
    assert "DSPEX_MIN_WORKERS" == failure.details["field"]
    assert "at most the 4 of workers (--workers)" == failure.details["expected"]


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        ({"memory_soft_mb": "2000"}, "--memory-soft-mb"),
        ({"memory_hard_mb": "100"}, "--memory-hard-mb"),
        ({"memory_soft_mb": "200", "memory_hard_mb": "100"}, "--memory-soft-mb"),
    ],
)
def test_a_soft_limit_beyond_the_hard_one_is_refused(given: dict[str, str], blamed: str) -> None:
    """It would never be reached; the one that somebody set is named."""
    assert blamed == refusal({}, given).details["field"]


def test_memory_limits_can_be_off_each_by_itself() -> None:
    """0 is never, and then there is nothing to compare."""
    assert 0 == read_config({}, {"memory_hard_mb": "0"}).memory_hard_mb
    assert 0 == read_config({}, {"memory_soft_mb": "0", "memory_hard_mb": "100"}).memory_soft_mb


@pytest.mark.parametrize("address", ["mysql://u:secret@host/db", "sqlite:x?password=secret", "secret@host"])
def test_an_address_of_no_store_is_refused_without_its_password(address: str) -> None:
    """By where it was given; what came is told as far as it may be."""
    refused = refusal({"DSPEX_STORE": address}, {})
    assert "DSPEX_STORE" == refused.details["field"]
    assert "secret" not in refused.message


def test_the_password_of_a_store_is_not_printed() -> None:
    """Where it is, is."""
    rows = effective_settings({"DSPEX_STORE": "redis://user:secret@host:1/2"}, {})
    (store,) = [row for row in rows if row["name"] == "store"]
    assert "redis://host:1/2" == store["value"]
