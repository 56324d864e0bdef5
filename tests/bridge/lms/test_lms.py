"""Language models by name: lookup, keys by reference, host functions as models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

import dspy
import pytest

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.descriptions import describe_lms
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_protocol import DSPexError, LMConfig, error

pytestmark = pytest.mark.asyncio


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


TEXT = "[[ ## answer ## ]]\nfrom the host\n\n[[ ## completed ## ]]"


class Host:
    """Host functions that give one answer and keep what they were asked."""

    def __init__(self, answer: object = TEXT) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    async def __call__(self, function: str, args: Mapping[str, object]) -> object:
        self.asked.append((function, args))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def models(
    host: Host | None = None, /, secrets: dict[str, str] | None = None, **lms: LMConfig
) -> LanguageModels:
    """LMs configured as in hello; the host offers `ask`."""
    functions = HostFunctions(host or Host(), asyncio.get_running_loop())
    functions.configure(["ask"])
    made = LanguageModels(functions)
    made.configure(lms, secrets or {})
    return made


def refusal_of(lms: LanguageModels, name: str | None) -> DSPexError:
    """The error that asking for an LM gives."""
    with pytest.raises(DSPexError) as refusal:
        lms.get(name)
    return refusal.value


async def test_the_default_is_used_where_none_is_named() -> None:
    """Built once, and the same again."""
    lms = models(default=LMConfig(model="sim/a"), other=LMConfig(model="sim/b"))
    assert lms.get(None) is lms.get("default")
    assert lms.get("other").model == "sim/b"
    assert [(row["name"], row["model"]) for row in describe_lms(lms)] == [
        ("default", "sim/a"),
        ("other", "sim/b"),
    ]


async def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    """The caller learns what it may say."""
    refusal = refusal_of(models(fast=LMConfig(model="sim/a"), slow=LMConfig(model="sim/b")), "fats")
    assert refusal.code == "unknown_lm"
    assert refusal.details == {"field": "lm", "expected": "one of: fast, slow", "got": "string 'fats'"}


async def test_without_any_lm_the_error_says_where_they_come_from() -> None:
    """A different mistake than a misspelt name."""
    assert refusal_of(models(), None).code == "lm_not_configured"


async def test_a_missing_key_is_named_and_not_looked_for_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an unset variable nor an unknown secret lets the client guess."""
    monkeypatch.setenv("OPENAI_API_KEY", "ambient")
    lms = models(
        env=LMConfig(model="openai/gpt-4o", api_key_env="DSPEX_TEST_KEY"),
        secret=LMConfig(model="openai/gpt-4o", api_key_secret="absent"),
    )
    assert "environment variable DSPEX_TEST_KEY" in refusal_of(lms, "env").message
    assert "secret absent" in refusal_of(lms, "secret").message


@pytest.mark.parametrize("engine", ["auto", "dspy"])
async def test_keys_reach_the_client_and_no_description(engine: Literal["auto", "dspy"]) -> None:
    """repr, lm.list and saved state show none of it."""
    config = LMConfig(model="openai/gpt-4o", api_key_secret="k", engine=engine)
    lms = models(None, {"k": "hush-hush"}, default=config)
    lm = lms.get(None)
    assert lm.kwargs.get("api_key") == (None if engine == "auto" else "hush-hush")
    saved = lm.dump_state() if engine == "dspy" else vars(lm)  # an engine of ours cannot be saved
    shown = f"{lms!r} {describe_lms(lms)} {lm!r} {saved}"
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (LMConfig(model="sim/a", options={"sed": 1}), "lms.default.options.sed"),
        (LMConfig(model="sim/a", options={"seed": "x"}), "lms.default.options.seed"),
        (LMConfig(model="sim/a", api_base="http://127.0.0.1/v1"), "lms.default.api_base"),
        (LMConfig(model="host/ask", api_key_env="X"), "lms.default.api_key_env"),
        (LMConfig(model="host/ask", options={"a": 1}), "lms.default.options"),
        (LMConfig(model="openai/gpt-4o", options={"api_key": "k"}), "lms.default.options"),
        (LMConfig(model="openai/"), "lms.default"),
    ],
)
async def test_a_bad_configuration_is_named(config: LMConfig, field: str) -> None:
    """The field, wherever the fault is found."""
    refusal = refusal_of(models(default=config), None)
    assert (refusal.code, refusal.details["field"]) == ("invalid_argument", field)


async def test_configuring_again_replaces_what_changed_and_keeps_the_rest() -> None:
    """Connections of unchanged LMs stay open."""
    lms = models(a=LMConfig(model="sim/a"), b=LMConfig(model="sim/b"))
    kept, replaced = lms.get("a"), lms.get("b")
    lms.configure({"a": LMConfig(model="sim/a"), "b": LMConfig(model="sim/c")}, {})
    assert lms.get("a") is kept
    assert lms.get("b") is not replaced


async def test_a_self_hosted_model_is_not_sought_in_the_price_list() -> None:
    """It routes through a provider of its own; a listed model and another address stay as they are."""
    base = "http://127.0.0.1:9/v1"
    lms = models(
        own=LMConfig(model="openai/own", api_base=base, engine="dspy"),
        listed=LMConfig(model="openai/gpt-4o", api_base=base, engine="dspy"),
    )
    assert lms.get("own").model.startswith("openai-")
    assert lms.get("listed").model == "openai/gpt-4o"


async def test_a_host_function_is_a_language_model() -> None:
    """It gets model, messages and config, and its text is the answer."""
    host = Host({"text": TEXT, "tokens_in": 5, "tokens_out": 3})
    lm = models(host, default=LMConfig(model="host/ask", temperature=0.5)).get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None), counting() as usage:
        prediction = await dspy.Predict(QA).acall(question="hi")
    function, args = host.asked[0]
    assert prediction.answer == "from the host"
    assert (function, args["model"], args["config"]) == ("ask", "host/ask", {"temperature": 0.5})
    assert [entry["role"] for entry in args["messages"]] == ["system", "user"]  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
    assert (usage.lm_calls, usage.tokens_in, usage.tokens_out) == (1, 5, 3)


async def test_a_program_in_a_thread_asks_the_host_through_the_loop() -> None:
    """Modules without an async form work with host models too."""
    lm = models(default=LMConfig(model="host/ask")).get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None):
        prediction = await asyncio.to_thread(dspy.Predict(QA), question="hi")
    assert prediction.answer == "from the host"


async def test_a_blocking_call_on_the_loop_is_refused() -> None:
    """It would wait for itself."""
    lm = models(default=LMConfig(model="host/ask")).get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None), pytest.raises(DSPexError) as refusal:
        dspy.Predict(QA)(question="hi")
    assert refusal.value.code == "program_failed"


@pytest.mark.parametrize("num_retries", [0, 1], ids=["short way", "DSPy's way"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (17, "function_failed"),
        ({"txt": "x"}, "function_failed"),
        (error("function_timeout", "late"), "function_timeout"),
    ],
)
async def test_a_failing_host_function_fails_with_its_own_code(
    num_retries: int, answer: object, code: str
) -> None:
    """DSPy calls every engine's error unexpected; the caller gets the real one."""
    lm = models(Host(answer), default=LMConfig(model="host/ask", num_retries=num_retries)).get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None), pytest.raises(DSPexError) as refusal:
        await dspy.Predict(QA).acall(question="hi")
    assert refusal.value.code == code


async def test_a_host_function_that_is_not_offered_is_named() -> None:
    """The functions there are, too."""
    refusal = refusal_of(models(default=LMConfig(model="host/other")), None)
    assert refusal.code == "unknown_function"
    assert "ask" in refusal.message


async def test_a_slow_host_function_is_given_up_and_cancelled() -> None:
    """timeout_s holds for host functions as for providers."""
    cancelled = asyncio.Event()

    class Slow(Host):
        async def __call__(self, function: str, args: Mapping[str, object]) -> object:
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()

    lm = models(Slow(), default=LMConfig(model="host/ask", timeout_s=0.01)).get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None), pytest.raises(DSPexError) as refusal:
        await dspy.Predict(QA).acall(question="hi")
    assert refusal.value.code == "function_timeout"
    assert cancelled.is_set()
