"""Sessions in a worker: turns, checkpoints, and what becomes of a turn that fails."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from tests.support.hops import SUPPORT, Hop, worker_here

from dspex_bridge.programs.sessions import SessionTable
from dspex_bridge.values.dspy_types import code_class
from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import CANCEL, FAIL, NOTE, REPLY, DSPexError, Meta, Tagged

EMPTY: Final[dict[str, object]] = {"history": [], "state": None, "schema": 1}
CHAT: Final = {"module": "Predict", "signature": "question, history: history -> answer"}
MINE: Final[dict[str, Any]] = {"program": "p", "version": 1}


class Supervisor:
    """What the supervisor does for sessions: loads them, stores checkpoints, counts turns."""

    def __init__(self, hop: Hop, worker: WorkerProcess) -> None:
        self.hop = hop
        self.worker = worker
        self.turn = 0

    async def create(self, spec: object, state: object = None) -> Any:
        record = await self.hop.call("program.build", {"spec": spec, "state": state})
        await self.hop.call("program.load", record, **MINE)
        return record

    async def load(self, checkpoint: object = EMPTY, session: str = "s", turn: int = 0, **meta: Any) -> None:
        await self.hop.call("session.load", checkpoint, session=session, turn=turn, **MINE, **meta)
        self.turn = turn

    def meta(self, **more: Any) -> dict[str, Any]:
        return {"session": "s", "turn": self.turn, **MINE, **more}

    async def predict(self, question: str = "Why?", **meta: Any) -> Any:
        prediction = await self.hop.call(
            "program.predict", {"inputs": {"question": question}}, **self.meta(**meta)
        )
        self.turn += 1
        return prediction.value["fields"]

    @property
    def checkpoint(self) -> Any:
        return self.hop.notes("session.checkpoint")[-1].value


@pytest.fixture
async def supervisor(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("DSPEX_PLUGINS", "plugin_modules")
    lms = {
        "default": {"model": "sim/test", "options": {"seed": 7}},
        "slow": {"model": "sim/slow", "options": {"latency_ms": 60_000}},
        "late": {"model": "sim/late", "options": {"latency_ms": 200}},
    }
    async with worker_here(lms) as (hop, worker):
        yield Supervisor(hop, worker)


# Conversations


async def test_a_turn_is_stored_before_it_is_answered(supervisor: Supervisor) -> None:
    """The note names the call, the session and the turn that the call made."""
    await supervisor.create(CHAT)
    await supervisor.load()
    fields = await supervisor.predict("Why?")
    note, reply = [frame for frame in supervisor.hop.heard if frame.kind in (NOTE, REPLY)][-2:]
    assert ("session.checkpoint", "s", 1) == (note.method, note.meta["session"], note.meta["turn"])
    assert (REPLY, reply.id) == (reply.kind, note.meta["call"])
    assert {"history": [{"question": "Why?", **fields}], "state": None, "schema": 1} == note.value


async def test_the_worker_puts_the_conversation_in(supervisor: Supervisor) -> None:
    """As DSPy's History wants it; the next turn needs no load."""
    await supervisor.create(CHAT)
    await supervisor.load()
    answers = [await supervisor.predict(f"Question {n}") for n in range(3)]
    turns = supervisor.worker.sessions._kept["s"].messages
    assert [{"question": f"Question {n}", **answer} for n, answer in enumerate(answers)] == turns
    assert turns == supervisor.checkpoint["history"]


async def test_a_session_that_moves_says_the_same_as_one_that_stays(supervisor: Supervisor) -> None:
    """Its model hears the same from a worker that got the last checkpoint."""
    await supervisor.create(CHAT)
    await supervisor.load()
    stays = [await supervisor.predict(f"Question {n}") for n in range(6)]
    await supervisor.load()
    moves: list[Any] = []
    for n in range(6):
        moves.append(await supervisor.predict(f"Question {n}"))
        await supervisor.hop.call("session.forget", None, session="s")
        await supervisor.load(supervisor.checkpoint, turn=n + 1)
    assert stays == moves
    assert 6 == len(supervisor.checkpoint["history"])


async def test_defaults_that_dspy_fills_in_are_a_part_of_the_turn(supervisor: Supervisor) -> None:
    """The model was told them; it is to be told again."""
    await supervisor.create(
        {"module": "Predict", "signature": "question, k: int = 3, history: history -> answer"}
    )
    await supervisor.load()
    await supervisor.predict()
    assert 3 == supervisor.checkpoint["history"][0]["k"]


async def test_a_call_that_gives_a_conversation_itself_is_refused(supervisor: Supervisor) -> None:
    """Which of the two would count?"""
    await supervisor.create(CHAT)
    await supervisor.load()
    inputs = {"question": "x", "history": Tagged("history", {"messages": []})}
    refused = await supervisor.hop.failure("program.predict", {"inputs": inputs}, **supervisor.meta())
    assert ("invalid_argument", "inputs.history") == (refused.code, refused.details["field"])


async def test_a_program_without_such_an_input_has_a_history_all_the_same(supervisor: Supervisor) -> None:
    """People look at it; and outside of sessions a call gives its conversation itself."""
    await supervisor.create({"module": "ChainOfThought", "signature": "question -> answer"})
    await supervisor.load()
    fields = await supervisor.predict()
    assert [{"question": "Why?", **fields}] == supervisor.checkpoint["history"]
    assert {"reasoning", "answer"} == fields.keys()


async def test_values_of_a_turn_keep_their_types(supervisor: Supervisor) -> None:
    """What was code in an earlier turn is code in the next."""
    await supervisor.create(
        {"module": "Predict", "signature": "question, more: any, history: history -> answer"}
    )
    await supervisor.load()
    inputs = {
        "question": "x",
        "more": [Tagged("code", {"code": "x", "language": "java"}), (1, dt.date(2026, 1, 2))],
    }
    await supervisor.hop.call("program.predict", {"inputs": inputs}, **supervisor.meta())
    assert inputs["more"] == supervisor.checkpoint["history"][0]["more"]
    message = supervisor.worker.sessions._kept["s"].messages[0]
    assert [code_class("java"), tuple] == [type(one) for one in message["more"]]


async def test_sets_are_told_in_an_order_that_stays(supervisor: Supervisor) -> None:
    """Another worker may have another order, and would say something else."""
    signature = "question, more: any, history: history -> answer"
    await supervisor.create({"module": "Predict", "signature": signature})
    await supervisor.load()
    inputs = {"question": "x", "more": [{"b", "c", "a"}, ({3, 1},)]}
    await supervisor.hop.call("program.predict", {"inputs": inputs}, **supervisor.meta())
    assert [["a", "b", "c"], ([1, 3],)] == supervisor.checkpoint["history"][0]["more"]


async def test_a_turn_can_be_streamed(supervisor: Supervisor) -> None:
    """The note still goes before the REPLY."""
    await supervisor.create(CHAT)
    await supervisor.load()
    call = await supervisor.hop.start(
        "program.predict", {"inputs": {"question": "x"}}, credit=100, **supervisor.meta()
    )
    await supervisor.hop.end(call)
    assert [item for item in supervisor.hop.items(call) if item["type"] == "token"]
    assert [NOTE, REPLY] == [frame.kind for frame in supervisor.hop.heard][-2:]


# Turns that are not answered


async def test_a_turn_that_fails_leaves_the_session_where_it_was(supervisor: Supervisor) -> None:
    """No note, and the same turn can be made again without a load."""
    await supervisor.create(CHAT)
    await supervisor.load()
    await supervisor.hop.failure("program.predict", {"inputs": {"question": 3}}, **supervisor.meta())
    await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}, "lm": "none"}, **supervisor.meta()
    )
    assert [] == supervisor.hop.notes("session.checkpoint")
    await supervisor.predict()


async def test_a_turn_that_is_cancelled_leaves_the_session_where_it_was(supervisor: Supervisor) -> None:
    """Also what a stateful module had made of itself."""
    await supervisor.create({"module": "Remembering", "signature": "question -> answer"})
    await supervisor.load()
    await supervisor.predict("first")
    call = await supervisor.hop.start(
        "program.predict", {"inputs": {"question": "x"}, "lm": "slow"}, **supervisor.meta()
    )
    await asyncio.sleep(0)
    await supervisor.hop.say(CANCEL, call, None, {}, None)
    with pytest.raises(DSPexError, match="cancelled"):
        await supervisor.hop.end(call)
    assert 1 == len(supervisor.hop.notes("session.checkpoint"))
    await supervisor.predict("second")
    demos = supervisor.checkpoint["state"]["answer"]["demos"]
    assert ["first", "second"] == [demo.value["fields"]["question"] for demo in demos]


async def test_a_thread_that_goes_on_after_it_was_cancelled_changes_nothing(supervisor: Supervisor) -> None:
    """It works on a copy that nobody looks at any more."""
    await supervisor.create({"module": "Counting", "signature": "question -> answer"})
    await supervisor.load()
    call = await supervisor.hop.start(
        "program.predict", {"inputs": {"question": "x"}, "lm": "late"}, **supervisor.meta()
    )
    while not supervisor.hop.notes("call.started"):
        await supervisor.hop.hear()
    await supervisor.hop.say(CANCEL, call, None, {}, None)
    with pytest.raises(DSPexError, match="cancelled"):
        await supervisor.hop.end(call)
    inputs = {"inputs": {"question": "x"}, "lm": "late"}  # which takes longer than what is left of the other
    prediction = await supervisor.hop.call("program.predict", inputs, **supervisor.meta())
    supervisor.turn += 1
    assert prediction.value["fields"]["answer"].startswith("1:")
    assert (await supervisor.predict())["answer"].startswith("2:")


async def test_an_answer_that_is_too_large_is_no_turn(supervisor: Supervisor) -> None:
    """Nor is a checkpoint."""
    await supervisor.create(CHAT)
    long = [{"question": "x" * 500, "answer": "y"}]
    await supervisor.load({**EMPTY, "history": long})
    supervisor.worker.calls.max_frame_bytes = 500
    refused = await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta()
    )
    assert "result_too_large" == refused.code
    supervisor.worker.calls.max_frame_bytes = 5000
    await supervisor.predict()
    assert 2 == len(supervisor.checkpoint["history"])


async def test_of_two_turns_at_once_one_counts(supervisor: Supervisor) -> None:
    """The supervisor makes them one after another; should it not, none is lost without a word."""
    await supervisor.create(CHAT)
    await supervisor.load()
    calls = [
        await supervisor.hop.start("program.predict", {"inputs": {"question": f"{n}"}}, **supervisor.meta())
        for n in range(2)
    ]
    failures: list[str] = []
    for call in calls:
        try:
            await supervisor.hop.end(call)
        except DSPexError as failure:
            failures.append(failure.code)
    assert ["unknown_session"] == failures
    assert 1 == len(supervisor.hop.notes("session.checkpoint"))


# Which session


@pytest.mark.parametrize(
    "meta", [{"turn": 1}, {"turn": 7}, {"session": "other"}, {"version": 2}, {"program": "q"}]
)
async def test_a_worker_without_exactly_that_turn_says_so(supervisor: Supervisor, meta: Meta) -> None:
    """The supervisor then sends the checkpoint ahead."""
    record = await supervisor.create(CHAT)
    await supervisor.hop.call("program.load", record, program="p", version=2)
    await supervisor.hop.call("program.load", record, program="q", version=1)
    await supervisor.load()
    refused = await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta(**meta)
    )
    assert "unknown_session" == refused.code
    await supervisor.predict()


async def test_what_was_forgotten_is_unknown(supervisor: Supervisor) -> None:
    """And forgetting twice is no error."""
    await supervisor.create(CHAT)
    await supervisor.load()
    for _ in range(2):
        await supervisor.hop.call("session.forget", None, session="s")
    refused = await supervisor.hop.failure("program.predict", {"inputs": {}}, **supervisor.meta())
    assert ("unknown_session", None) == (refused.code, refused.details["turn"])


async def test_a_session_that_is_forgotten_during_a_turn_is_answered(supervisor: Supervisor) -> None:
    """The supervisor knows what it wants with the answer."""
    await supervisor.create(CHAT)
    await supervisor.load()
    call = await supervisor.hop.start("program.predict", {"inputs": {"question": "x"}}, **supervisor.meta())
    forget = await supervisor.hop.start("session.forget", None, session="s")
    await supervisor.hop.end(call)
    await supervisor.hop.end(forget)
    assert 0 == len(supervisor.worker.sessions)


async def test_loading_again_replaces(supervisor: Supervisor) -> None:
    """A fork of the past, or what another worker went on with."""
    await supervisor.create(CHAT)
    await supervisor.load({**EMPTY, "history": [{"question": "a", "answer": "b"}]}, turn=1)
    await supervisor.load(EMPTY, turn=5)
    await supervisor.predict("c")
    assert ["c"] == [entry["question"] for entry in supervisor.checkpoint["history"]]


@pytest.mark.parametrize(
    ("checkpoint", "code"),
    [
        (None, "invalid_argument"),
        ({}, "invalid_argument"),
        ({**EMPTY, "history": [3]}, "invalid_argument"),
        ({**EMPTY, "history": {}}, "invalid_argument"),
        ({**EMPTY, "state": []}, "invalid_argument"),
        ({**EMPTY, "extra": 1}, "invalid_argument"),
        ({**EMPTY, "schema": 2}, "record_too_new"),
    ],
)
async def test_a_checkpoint_that_cannot_be_read_is_told_to_each_call(
    supervisor: Supervisor, checkpoint: object, code: str
) -> None:
    """Not that it is unknown, which would have it sent again for ever."""
    await supervisor.create(CHAT)
    assert code == (await supervisor.hop.failure("session.load", checkpoint, **supervisor.meta())).code
    for _ in range(2):
        refused = await supervisor.hop.failure(
            "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta()
        )
        assert code == refused.code


@pytest.mark.parametrize(
    "state",
    [{"self": {}}, {"other": {}}, {"self": {"instructions": "x", "fields": [], "demos": [], "train": []}}],
)
async def test_a_checkpoint_that_does_not_fit_the_program_is_refused(
    supervisor: Supervisor, state: object
) -> None:
    """When a turn is to be made of it."""
    await supervisor.create({"module": "Remembering", "signature": "question -> answer"})
    await supervisor.load({**EMPTY, "state": state})
    refused = await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta()
    )
    assert "invalid_argument" == refused.code
    assert str(refused.details["field"]).startswith("checkpoint.state")


@pytest.mark.parametrize("meta", [{}, {"session": "s"}, {"session": 3}, {"session": "s", "turn": -1}])
async def test_loading_needs_a_session_a_turn_and_a_program(supervisor: Supervisor, meta: Meta) -> None:
    """As the supervisor has them."""
    refused = await supervisor.hop.failure("session.load", EMPTY, **{**meta, "program": "p"})
    assert "invalid_argument" == refused.code
    assert 0 == len(supervisor.worker.sessions)


def test_sessions_that_nobody_forgets_go_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not used longest."""
    monkeypatch.setattr(SessionTable, "MAX_SESSIONS", 2)
    table = SessionTable()
    metas: list[Meta] = [{"session": name, "turn": 0, **MINE} for name in "abc"]
    table.load(metas[0], EMPTY)
    table.load(metas[1], EMPTY)
    table.named(metas[0])
    table.load(metas[2], EMPTY)
    assert ["a", "c"] == sorted(table._kept)


# Modules that keep state


async def test_what_a_module_makes_of_itself_goes_on_in_the_next_turn(supervisor: Supervisor) -> None:
    """And is in the checkpoint, as far as it differs from the program."""
    await supervisor.create({"module": "Remembering", "signature": "question -> answer"})
    await supervisor.load()
    for n in range(3):
        await supervisor.predict(f"Question {n}")
        demos = supervisor.checkpoint["state"]["answer"]["demos"]
        assert [f"Question {m}" for m in range(n + 1)] == [demo.value["fields"]["question"] for demo in demos]


async def test_a_stateful_session_that_moves_goes_on_where_it_was(supervisor: Supervisor) -> None:
    """Its answers are those of one that stays."""
    await supervisor.create(
        {"module": "Counting", "signature": "question -> answer", "options": {"start": 40}}
    )
    await supervisor.load()
    answers: list[str] = []
    for n in range(4):
        answers.append((await supervisor.predict())["answer"])
        if n % 2:
            await supervisor.hop.call("session.forget", None, session="s")
            await supervisor.load(supervisor.checkpoint, turn=n + 1)
    assert ["41", "42", "43", "44"] == [answer.partition(":")[0] for answer in answers]
    assert ({"calls": 44}, None) == (supervisor.checkpoint["memory"], supervisor.checkpoint["state"])


async def test_sessions_of_one_program_do_not_see_each_other(supervisor: Supervisor) -> None:
    """Nor do calls outside of them: those always begin with the program as it is stored."""
    await supervisor.create({"module": "Counting", "signature": "question -> answer"})
    for session in ("a", "b"):
        await supervisor.load(session=session)
    counts: list[Any] = []
    for number, session in enumerate(("a", "a", "b", "a")):
        turn = ["a", "a", "b", "a"][:number].count(session)
        supervisor.turn = turn
        counts.append((await supervisor.predict(session=session))["answer"][0])
    alone = await supervisor.hop.call("program.predict", {"inputs": {"question": "x"}}, **MINE)
    again = await supervisor.hop.call("program.predict", {"inputs": {"question": "x"}}, **MINE)
    assert ["1", "2", "1", "3"] == counts
    assert ["1", "1"] == [one.value["fields"]["answer"][0] for one in (alone, again)]


async def test_a_one_shot_call_of_a_stateful_module_keeps_nothing(supervisor: Supervisor) -> None:
    """Its spec may come again."""
    what = {"inputs": {"question": "x"}, "spec": {"module": "Counting", "signature": "question -> answer"}}
    answers = [
        (await supervisor.hop.call("program.predict", what)).value["fields"]["answer"] for _ in range(2)
    ]
    assert "11" == "".join(answer[0] for answer in answers)


async def test_a_module_with_other_predictors_than_before_is_no_turn(supervisor: Supervisor) -> None:
    """No other worker could go on with it."""
    await supervisor.create({"module": "Growing", "signature": "question -> answer"})
    await supervisor.load()
    refused = await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta()
    )
    assert "program_failed" == refused.code
    assert "others[0]" in refused.message


async def test_a_memory_for_a_module_that_keeps_none_is_refused(supervisor: Supervisor) -> None:
    """The program has another module now, or the checkpoint is another's."""
    await supervisor.create({"module": "Remembering", "signature": "question -> answer"})
    await supervisor.load({**EMPTY, "memory": 3})
    refused = await supervisor.hop.failure(
        "program.predict", {"inputs": {"question": "x"}}, **supervisor.meta()
    )
    assert "checkpoint.memory" == refused.details["field"]


async def test_modules_that_keep_nothing_share_the_programs(supervisor: Supervisor) -> None:
    """A session of theirs is its conversation."""
    await supervisor.create(CHAT)
    await supervisor.load()
    await supervisor.predict()
    assert supervisor.worker.sessions._kept["s"]._live is None


async def test_frames_of_the_same_read_are_in_order(supervisor: Supervisor) -> None:
    """Load, call and forget without waiting, as the supervisor sends them."""
    await supervisor.create(CHAT)
    await supervisor.hop.start("session.load", EMPTY, **supervisor.meta())
    call = await supervisor.hop.start("program.predict", {"inputs": {"question": "x"}}, **supervisor.meta())
    await supervisor.hop.start("session.forget", None, session="s")
    await supervisor.hop.end(call)
    assert [] == [frame for frame in supervisor.hop.heard if frame.kind == FAIL]
