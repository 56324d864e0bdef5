"""Fine-tuning by the offline server: its stages, and what OpenAI's own client makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import openai
import pytest

from dspex_bridge.sim.tuning import Tunings, Unusable


def lines(count: int, **changed: object) -> bytes:
    """A training file: what is 1 doubled, and so on."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Double."},
                {"role": "user", "content": f"{number}"},
                {"role": "assistant", "content": f"{number * 2}"},
            ]
        }
        for number in range(count)
    ]
    return "\n".join(json.dumps({**row, **changed}) for row in rows).encode()


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def begun(body: bytes, clock: Clock, **wish: object) -> Any:
    tunings = Tunings(10.0, clock)
    kept = tunings.add_file("rows.jsonl", "fine-tune", body, 0)
    return tunings, tunings.start({"model": "sim-base", "training_file": kept.id, **wish}, 0)


def test_a_job_goes_through_the_stages_of_a_provider() -> None:
    """Each in its time, and what was told once is told again."""
    clock = Clock()
    _, job = begun(lines(12), clock, suffix="doubles")
    seen = []
    told: list[str] = []
    for _ in range(21):
        status = job.status(clock())
        seen += [status] if status not in seen else []
        now = [moment.message for moment in job.moments(clock())]
        assert told == now[: len(told)]
        told = now
        clock.now_s += 0.5
    assert ["validating_files", "queued", "running", "succeeded"] == seen
    assert ["Created", "Validating", "Files", "Fine-tuning"] == [text.split()[0] for text in told[:4]]
    assert "ft:sim-base:sim:doubles:sim2" == job.tuned_model
    assert "Step 36/36" in told[-3]


def test_a_tuned_model_knows_its_examples_and_nothing_else() -> None:
    """Only once its job is done; by the last question, whatever the instructions."""
    clock = Clock()
    tunings, job = begun(lines(12), clock)
    with pytest.raises(Unusable, match="no model"):
        tunings.known(job.tuned_model, [("user", "4")])
    clock.now_s += 10
    assert "8" == tunings.known(f"openai/{job.tuned_model}", [("system", "Other words."), ("user", "4")])
    assert tunings.known(job.tuned_model, [("user", "400")]) is None
    assert tunings.known("sim-base", [("user", "4")]) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lines(9), "9 examples, where 10 are needed"),
        (b"\xff" + lines(12), "not UTF-8"),
        (lines(12) + b"\n{]", "Line 13 is no JSON object"),
        (lines(12) + b'\n{"messages": 3}', "Line 13 is no JSON object"),
        (lines(12) + b'\n{"messages": [{"role": "user", "content": "1"}]}', "Line 13 does not end"),
        (b"", "0 examples"),
    ],
    ids=["few", "bytes", "json", "shape", "end", "empty"],
)
def test_a_file_of_no_use_fails_its_job(body: bytes, words: str) -> None:
    """The job is made, as with providers, and says why once the file has been looked at."""
    clock = Clock()
    _, job = begun(body, clock)
    assert "validating_files" == job.status(clock())
    clock.now_s += 2
    assert "failed" == job.status(clock())
    assert words in str(job.refusal)
    assert words in job.moments(clock())[-1].message


@pytest.mark.parametrize("after_s", [0.5, 1.5, 5.0])
def test_a_cancelled_job_stays_where_it_was(after_s: float) -> None:
    """Whenever it is cancelled it trains no further, and there is no model of it."""
    clock = Clock()
    tunings, job = begun(lines(12), clock)
    clock.now_s += after_s
    job.cancelled_s = clock()
    before = len(job.moments(clock()))
    clock.now_s += 100
    assert "cancelled" == job.status(clock())
    assert before == len(job.moments(clock()))
    with pytest.raises(Unusable):
        tunings.known(job.tuned_model, [("user", "4")])


@contextmanager
def client(*options: str) -> Generator[openai.OpenAI]:
    """OpenAI's client of a server process."""
    command = [sys.executable, "-m", "dspex_bridge", "sim-lm", "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            base = json.loads(process.stdout.readline())["api_base"]
            with openai.OpenAI(api_key="none", base_url=base, max_retries=0) as asked:
                yield asked
        finally:
            process.stdin.close()
            assert process.wait(timeout=10) == 0


def test_openais_client_tunes_a_model() -> None:
    """Upload, job, events by pages, the tuned model's answers, cancelling and deleting."""
    with client("--tuning-s", "0") as asked:
        kept = asked.files.create(file=("rows.jsonl", lines(12)), purpose="fine-tune")
        assert len(lines(12)) == kept.bytes
        assert lines(12) == asked.files.content(kept.id).read()
        job = asked.fine_tuning.jobs.create(
            model="sim-base",
            training_file=kept.id,
            seed=7,
            metadata={"dspex": "key"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        )
        assert ("succeeded", 7, {"dspex": "key"}) == (job.status, job.seed, job.metadata)
        events = list(asked.fine_tuning.jobs.list_events(job.id, limit=3))  # the client turns the pages
        assert "Created fine-tuning job" in events[-1].message
        assert len(events) == len({event.id for event in events}) > 10
        assert [job.id] == [one.id for one in asked.fine_tuning.jobs.list(metadata={"dspex": "key"})]
        assert [] == list(asked.fine_tuning.jobs.list(metadata={"dspex": "other"}))
        assert job.fine_tuned_model is not None
        answer = asked.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "5"}]
        )
        assert "10" == answer.choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="succeeded and cannot be cancelled"):
            asked.fine_tuning.jobs.cancel(job.id)
        assert asked.files.delete(kept.id).deleted


def test_what_is_wrong_is_said_as_openai_says_it() -> None:
    """A status and the argument's name, which OpenAI's client makes its errors of."""
    with client("--tuning-s", "60") as asked:
        with pytest.raises(openai.BadRequestError) as refused:
            asked.fine_tuning.jobs.create(model="sim-base", training_file="file-none")
        assert "training_file" == refused.value.param
        with pytest.raises(openai.NotFoundError):
            asked.fine_tuning.jobs.retrieve("ftjob-none")
        with pytest.raises(openai.NotFoundError):
            asked.chat.completions.create(model="ft:none", messages=[{"role": "user", "content": "5"}])
        with pytest.raises(openai.BadRequestError, match="purpose"):
            asked.files.create(file=("rows.jsonl", lines(12)), purpose="batch")
        kept = asked.files.create(file=("rows.jsonl", lines(12)), purpose="fine-tune")
        for wrong in ({"metadata": {"a": "b" * 513}}, {"hyperparameters": {"n_epochs": 51}}):
            with pytest.raises(openai.BadRequestError):
                asked.fine_tuning.jobs.create(model="m", training_file=kept.id, **cast("Any", wrong))
        job = asked.fine_tuning.jobs.create(model="m", training_file=kept.id)
        assert "cancelled" == asked.fine_tuning.jobs.cancel(job.id).status
