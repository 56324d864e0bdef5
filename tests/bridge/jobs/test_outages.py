"""Models that answered and answer nobody: who waits, for how long, and who is told."""

from __future__ import annotations

import asyncio

import pytest

from dspex_bridge.jobs import outages
from dspex_bridge.jobs.outages import LONGEST_OUTAGE_S, MAX_ALONE, Outages, pause_s
from dspex_bridge.lms.accounts import Account
from dspex_protocol import DSPexError, error

ONE, OTHER = Account(label="one"), Account(label="other")
AWAY = error("lm_unavailable", "the provider failed")


class Told:
    """Who is told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def model_away(self, model: str, code: str) -> None:
        """As `outages.Listener`."""
        self.all.append((model, code))

    def model_back(self, model: str) -> None:
        """As `outages.Listener`."""
        self.all.append((model, "back"))

    def give_up(self, reason: DSPexError) -> None:
        """As `outages.Listener`."""
        self.all.append((str(reason.details["lm"]), "given up"))


class Clock:
    """Seconds as a test sets them."""

    now_s = 0.0

    def __call__(self) -> float:
        """What time it is."""
        return self.now_s


def made() -> tuple[Outages, Told, Clock]:
    """Of this loop."""
    told, clock = Told(), Clock()
    return Outages(asyncio.get_running_loop(), told, clock), told, clock


def test_pauses_grow_and_a_provider_may_ask_for_more() -> None:
    """Up to what is listened to."""

    def pause(tries: int, asked_s: float | None = None) -> float | None:
        return pause_s(tries=tries, answered_before=True, alone=0, asked_s=asked_s)

    assert [1.0, 2.0, 4.0, 30.0, 30.0] == [pause(tries) for tries in (1, 2, 3, 6, 1000)]
    assert [60.0, 300.0, 1.0] == [pause(1, asked_s) for asked_s in (60.0, 86_400.0, 0.5)]


def test_a_model_that_never_answered_is_not_waited_for() -> None:
    """It is likely to be configured wrongly."""
    assert None is pause_s(tries=1, answered_before=False, alone=0, asked_s=9.0)


def test_a_request_that_fails_while_others_are_answered_has_a_few_tries() -> None:
    """The model is there: it is the request."""
    pauses = [
        pause_s(tries=tries, answered_before=True, alone=tries, asked_s=None)
        for tries in range(1, MAX_ALONE + 1)
    ]
    assert [1.0, 2.0, 4.0, None] == pauses


@pytest.mark.parametrize("code", ["lm_auth", "lm_invalid_request", "lm_context_window", "program_failed"])
async def test_all_else_is_an_answer(code: str) -> None:
    """The next request would come to the same."""
    models, told, _ = made()
    models.answered(ONE)
    assert not await models.is_to_try_again(models.request(ONE), error(code, "no"))
    assert [] == told.all


async def test_all_wait_until_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, and none of them waits for its pause then; in threads as on the loop."""
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_S", 3600.0)
    models, told, _ = made()
    models.answered(ONE)
    waiting = [asyncio.ensure_future(models.is_to_try_again(models.request(ONE), AWAY)) for _ in range(3)]
    in_thread = asyncio.ensure_future(
        asyncio.to_thread(models.is_to_try_again_in_thread, models.request(ONE), AWAY)
    )
    models.answered(OTHER)
    done, _ = await asyncio.wait([*waiting, in_thread], timeout=0.2)
    assert not done
    assert [("one", "lm_unavailable")] == told.all
    await asyncio.to_thread(models.answered, ONE)
    assert [True] * 4 == await asyncio.gather(*waiting, in_thread)
    assert [("one", "lm_unavailable"), ("one", "back")] == told.all


async def test_a_model_that_is_there_is_not_said_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request of several that fails is no outage."""
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.0)
    models, told, _ = made()
    models.answered(ONE)
    request = models.request(ONE)
    tries: list[bool] = []
    for _ in range(MAX_ALONE):
        models.answered(ONE)
        tries.append(await models.is_to_try_again(request, AWAY))
    assert [True] * (MAX_ALONE - 1) + [False] == tries
    assert [] == told.all


async def test_the_last_answers_before_an_outage_say_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was made before them waits as long as all others."""
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.0)
    models, told, _ = made()
    models.answered(ONE)
    request = models.request(ONE)
    models.answered(ONE)
    assert [True] * 10 == [await models.is_to_try_again(request, AWAY) for _ in range(10)]
    assert [("one", "lm_unavailable")] == told.all


async def test_it_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour the job is to end, and whoever waits waits until it has."""
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.0)
    models, told, clock = made()
    models.answered(ONE)
    request = models.request(ONE)
    assert await models.is_to_try_again(request, AWAY)
    clock.now_s = LONGEST_OUTAGE_S
    assert await models.is_to_try_again(request, AWAY)
    clock.now_s += 1.0
    last = asyncio.ensure_future(models.is_to_try_again(request, AWAY))
    done, _ = await asyncio.wait([last], timeout=0.2)
    assert not done
    assert ("one", "given up") == told.all[-1]
    last.cancel()
