"""What a run tells of a request, by values."""

from __future__ import annotations

import pytest

from dspex_pool.experiments.requests import MAX_CHARACTERS, MAX_PARAMS, params_of, told_of_job
from dspex_pool.jobs.records import pin_of
from dspex_protocol import FunctionReference

REQUEST = {
    "program": "qa",
    "optimizer": {"optimizer": "MIPROv2", "options": {"auto": "light", "max_demos": 4}, "compile": {}},
    "metric": {"metric": "host", "options": {"function": "MyApp.right", "strict": True}},
    "trainset": {"dataset": "questions", "version": 3, "select": {"limit": 20}},
    "valset": [{"question": "who?", "answer": "a private matter"}] * 30,
    "teacher": {"program": "large", "lm": "gpt"},
    "lm": None,
    "save_as": {"program": "qa", "tags": ["new", "tried"]},
}


def test_a_job_is_told_by_its_options() -> None:
    """By their paths, a metric by its name, and rows by how many there are."""
    params, lineage, pins = told_of_job("optimize", REQUEST, {"budget": {"usd": 5.0, "tokens": None}})
    assert {
        "kind": "optimize",
        "optimizer": "MIPROv2",
        "optimizer.options.auto": "light",
        "optimizer.options.max_demos": 4,
        "metric": "host",
        "metric.options.function": "MyApp.right",
        "metric.options.strict": True,
        "valset": "30 entries",
        "teacher.lm": "gpt",
        "trainset.select.limit": 20,
        "save_as.program": "qa",
        "save_as.tags": '["new", "tried"]',
        "budget.usd": 5.0,
    } == params
    assert {"program": "qa", "trainset": "questions", "trainset_version": 3, "teacher": "large"} == lineage
    assert {"version": "program/qa", "teacher_version": "program/large"} == pins


def test_a_version_is_that_of_what_it_stands_beside() -> None:
    """Of a fine-tune it is the dataset's."""
    _, lineage, pins = told_of_job("finetune", {"dataset": "d", "version": 2}, {})
    assert ({"dataset": "d", "dataset_version": 2}, {}) == (lineage, pins)
    _, lineage, pins = told_of_job("synthesize", {"dataset": "d", "examples": {"dataset": "d"}}, {})
    assert ({"dataset": "d", "examples": "d"}, {"examples_version": "dataset/d"}) == (lineage, pins)
    _, lineage, pins = told_of_job(
        "optimize", {"programs": [{"program": "a", "version": 1}, {"program": "b"}]}, {}
    )
    assert {"programs.0": "a", "programs.0_version": 1, "programs.1": "b"} == lineage
    assert {"programs.1_version": "program/b"} == pins


def test_a_tag_means_the_version_that_the_job_has_for_it() -> None:
    """And not that of the same program without one."""
    asked = {"program": "qa", "tag": "best", "teacher": {"program": "qa"}}
    params, lineage, pins = told_of_job("optimize", asked, {})
    assert ({"kind": "optimize", "tag": "best"}, {"program": "qa", "teacher": "qa"}) == (params, lineage)
    assert {"version": pin_of("qa", "best"), "teacher_version": pin_of("qa")} == pins


@pytest.mark.parametrize(
    "request_",
    [
        {"options": {"api_key": "sesame"}},
        {"headers": {"X": "sesame"}},
        {"config": {"Authorization": "Bearer sesame"}},
        {"hf_token": "sesame"},
        {"where": "https://me:sesame@example.org/"},
        {"lm": "sk-sesamesesamesesame"},
        {"lms": ["sk-sesamesesamesesame"]},
        {"nested": [{"rows": "sesame"}]},
        {"image": b"sesame"},
    ],
)
def test_secrets_and_contents_are_not_told(request_: dict[str, object]) -> None:
    """Only that there was something."""
    params = params_of(request_)
    assert 1 == len(params)
    assert "sesame" not in str(params)


def test_whatever_a_request_is_a_run_can_hold_it() -> None:
    """Long texts are cut, odd values are texts, and what is too much is counted."""
    odd = {
        "text": "x" * 5000,
        "nan": float("nan"),
        "none": None,
        "f": FunctionReference("app.f"),
        "x" * 200: 1,
    }
    params = params_of({**odd, **{f"n{n}": n for n in range(500)}})
    assert MAX_PARAMS + 1 == len(params)
    assert MAX_CHARACTERS == len(str(params["text"]))
    assert ("nan", "app.f") == (params["nan"], params["f"])
    assert 3 + 500 + 1 - MAX_PARAMS == params["left_out"]
    assert {} == told_of_job("k", "no map", {}).lineage
