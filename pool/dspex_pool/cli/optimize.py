"""`dspex optimize`: a better program of a program, by one of DSPy's optimizers, on the rows of a file."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from dspex_pool.cli.call import chosen_server
from dspex_pool.cli.connecting import add_connect_option, at_some_server
from dspex_pool.cli.dataset import document_of
from dspex_pool.cli.evaluation_words import Program, option_value, read_metrics, read_program
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, OK, exits_with_code
from dspex_pool.cli.optimizing_progress import OptimizingProgress
from dspex_pool.cli.readable import plain, print_run, print_table, report
from dspex_pool.cli.report import ENDINGS
from dspex_pool.client import Client
from dspex_pool.datasets.operations import FORMATS
from dspex_pool.notation import to_json
from dspex_pool.reports.operations import METHOD as MAKE_REPORT
from dspex_protocol import DSPexError, error, invalid_argument

EPILOG: Final = """\
PROGRAM, DATA and METRIC are as of `dspex evaluate`. OPTIMIZER is NAME:OPTION=VALUE,…; `dspex schema`
and docs/optimizers.md list them with their options. DATA is shared out by --dev: so much of it is kept
back, and the program is scored on that before and after.

  dspex optimize "question -> answer" questions.csv --optimizer BootstrapFewShot \\
      --metric exact_match:field=answer --lm openai/gpt-4o-mini -o better.json --report report.html
  dspex optimize program.json rows.jsonl --optimizer MIPROv2:auto=light --metric SemanticF1 --usd 5
  dspex evaluate better.json questions.csv --metric exact_match:field=answer

It is a job: made again with the same --key it goes on where it was, and pays for nothing twice;
also after it has failed, with a budget that may be another one.

exit codes: 0 ok, 1 the job has failed or the server refused, 2 bad arguments, 3 no server
"""
DEADLINE_MS: Final = 86_400_000
BUDGET: Final = ("lm_calls", "tokens", "usd")
RESUMABLE: Final = ("failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An optimization as the command line asks for it.

    Attributes:
        program: What is optimized.
        document: Rows to be stored first.
        dev: Share of them that is kept back; 0 for none.
        request: Of the job, without program and rows.
        job: What else the submission says.
        output: Where the program goes.
        report: Where the report goes.
        as_json: How the result is printed.
    """

    program: Program
    document: dict[str, object]
    dev: float
    request: dict[str, object]
    job: dict[str, object]
    output: str | None
    report: Path | None
    as_json: bool


@exits_with_code
def run(arguments: list[str]) -> int:
    """Optimize.

    Returns:
        0; 1 when the job has failed, or the server refuses; 2 for bad arguments; 3 without a server.
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    given = new_parser().parse_intermixed_args(arguments[:at])
    own_flags = arguments[at + 1 :]
    try:
        request = read_request(given)
        address, flags = chosen_server(given.connect, own_flags)
        lms = read_models(given.lm, given.model)
    except DSPexError as refusal:
        print(f"dspex optimize: {plain(refusal.message)}", file=sys.stderr)
        return BAD_ARGUMENTS
    return at_some_server(
        "optimize",
        address,
        lambda client: perform(client, request),
        flags=flags,
        lms=lms,
        as_json=given.json,
    )


def read_request(given: argparse.Namespace) -> Request:
    """What the arguments ask for.

    Raises:
        CallerError: `invalid_argument` naming the word that cannot be.
    """
    program = read_program(given.program, given.module)
    metrics = list(read_metrics([given.metric]).values()) if given.metric else [None]
    if not 0 <= given.dev < 1:
        raise invalid_argument("--dev", "a share from 0 to less than 1", given.dev)
    request = {
        "optimizer": read_optimizer(given.optimizer, given.compile),
        "metric": metrics[0],
        "seed": given.seed,
        "num_threads": given.threads,
        "save_as": None if given.save is None else {"program": given.save},
    }
    budget = {name: getattr(given, name) for name in BUDGET if getattr(given, name) is not None}
    job = {
        "key": given.key or f"optimize-{secrets.token_hex(4)}",
        "note": given.note,
        "experiment": given.experiment,
        "budget": budget or None,
    }
    return Request(
        program=program,
        document=document_of(
            given.data, given.format, given.data_signature or program.signature, given.inputs
        ),
        dev=given.dev,
        request={name: value for name, value in request.items() if value is not None},
        job={name: value for name, value in job.items() if value is not None},
        output=given.output,
        report=_report_file(given.report),
        as_json=given.json,
    )


def read_optimizer(word: str, compiling: Sequence[str]) -> dict[str, object]:
    """An optimizer of a word, NAME:OPTION=VALUE,…, and options of its `compile`.

    Raises:
        CallerError: `invalid_argument`.
    """
    name, _, told = word.partition(":")
    if not name:
        raise invalid_argument("--optimizer", "NAME:OPTION=VALUE,…, such as BootstrapFewShot", word)
    options = _options("--optimizer", told.split(",") if told else ())
    return {"optimizer": name, "options": options, "compile": _options("--compile", compiling)}


def _options(flag: str, words: Sequence[str]) -> dict[str, object]:
    options: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise invalid_argument(flag, "OPTION=VALUE", word)
        options[name] = option_value(value)
    return options


def read_models(default: str | None, named: Sequence[str]) -> dict[str, object]:
    """Language models by name, of the default one and of words NAME=MODEL.

    Raises:
        CallerError: `invalid_argument`.
    """
    models: dict[str, object] = {} if default is None else {"default": {"model": default}}
    for word in named:
        name, equals, model = word.partition("=")
        if not equals or not name or not model:
            raise invalid_argument("--model", "NAME=MODEL", word)
        models[name] = {"model": model}
    return models


def _report_file(name: str | None) -> Path | None:
    if name is None:
        return None
    file = Path(name)
    if file.suffix.lower() not in ENDINGS:
        raise invalid_argument("--report", f"a file that ends in {', '.join(ENDINGS)}", name)
    return file


# What is done


async def perform(client: Client, request: Request) -> int:
    """Optimize, and print what came of it.

    Returns:
        An exit code.
    """
    key = str(request.job["key"])
    try:
        job = await _submitted(client, request)
        ended, progress = await _followed(client, job, request)
        if ended["state"] != "done":
            words = f"dspex optimize: the job {job} is {ended['state']}; --key {plain(key)} goes on with it"
            print(words, file=sys.stderr)
            return CALL_FAILED if ended["error"] is None else report(_failure(ended), as_json=request.as_json)
        told = cast("dict[str, Any]", await client.call("job.result", {"job": job}))
        await _write(client, job, told["result"], request)
    except DSPexError as failure:
        code = report(failure, as_json=request.as_json)
        if failure.retryable or failure.code == "cancelled":
            print(f"dspex optimize: go on with --key {plain(key)}", file=sys.stderr)
        return code
    if request.as_json:
        print(json.dumps(to_json({"job": job, **told}), indent=2))
    else:
        print_summary(job, told, progress.trials)
        print_run(ended["experiment"], ended["run"])
    return OK


async def _submitted(client: Client, request: Request) -> str:
    """The id of the job. What it works on is stored once for its key, so that it is the same job again."""
    key = request.job["key"]
    named, meta = await request.program.named(client, f"{key}/program")
    put = await client.call("dataset.put", request.document, write_id=f"{key}/rows")
    stored = cast("dict[str, Any]", put)
    rows = {"dataset": stored["dataset"], "version": stored["version"]}
    asked = {**request.request, **named, **meta, **_shared_out(rows, request.dev)}
    try:
        submitted: Any = await client.call(
            "job.submit", {"kind": "optimize", "request": asked, **request.job}
        )
        job = str(submitted["job"])
    except DSPexError as failure:
        job = await _same_but_for_its_budget(client, asked, request.job.get("experiment"), failure)
    known: Any = await client.call("job.get", {"job": job})
    if known["state"] in RESUMABLE:
        await client.call("job.resume", {"job": job, "budget": request.job["budget"] or {}})
    return job


async def _same_but_for_its_budget(
    client: Client, asked: Mapping[str, object], experiment: object, failure: DSPexError
) -> str:
    """The job under that key, when all that differs is what it may spend.

    Raises:
        DSPexError: that failure, when there is another reason for it.
    """
    if failure.code != "job_key_reused":
        raise failure
    job = str(failure.details["job"])
    known: Any = await client.call("job.get", {"job": job, "request": True})
    if (known["kind"], known["request"], known["experiment"]) != ("optimize", asked, experiment):
        raise failure
    return job


def _shared_out(rows: Mapping[str, object], dev: float) -> dict[str, object]:
    if not dev:
        return {"trainset": rows}
    split = {"train": 1 - dev, "dev": dev}
    sides = {side: {**rows, "select": {"split": split, "side": side}} for side in split}
    return {"trainset": sides["train"], "valset": sides["dev"]}


async def _followed(client: Client, job: str, request: Request) -> tuple[dict[str, Any], OptimizingProgress]:
    optimizer = cast("dict[str, Any]", request.request["optimizer"])["optimizer"]
    with OptimizingProgress(optimizer) as progress:
        while True:
            stream = client.stream_call("job.follow", {"job": job, "after": 0}, deadline_ms=DEADLINE_MS)
            progress.trials.clear()
            async for item in stream:
                progress.take(cast("dict[str, Any]", item))
            try:
                return cast("dict[str, Any]", (await stream.result()).value), progress
            except DSPexError as failure:
                if failure.code != "deadline":  # of this call, and not of the job
                    raise


def _failure(ended: Mapping[str, Any]) -> DSPexError:
    told = ended["error"]
    return error(str(told["code"]), str(told["message"]), details=told["details"])


async def _write(client: Client, job: str, result: Mapping[str, Any], request: Request) -> None:
    if request.output is not None:
        record = {name: result["program"][name] for name in ("spec", "state")}
        _save(request.output, json.dumps(to_json(record), indent=2) + "\n")
    if request.report is not None:
        payload = {"job": job, "format": ENDINGS[request.report.suffix.lower()]}
        made = cast("dict[str, Any]", await client.call(MAKE_REPORT, payload))
        _save(str(request.report), str(made["text"]))


def _save(file: str, text: str) -> None:
    try:
        if file == "-":
            print(text, end="")
        else:
            Path(file).write_text(text, encoding="utf-8")
    except OSError as reason:
        raise invalid_argument("-o", f"a file that can be written ({reason.strerror})", file) from None


# What is said


def print_summary(job: str, told: Mapping[str, Any], trials: Sequence[float]) -> None:
    """An optimization for people: scores, what it took, and what it made."""
    result, saved = told["result"], told["saved"]
    scores, usage = result["scores"], result["usage"]
    made = "" if saved is None else f"; stored as version {saved['version']} of {plain(saved['program'])}"
    print(f"{plain(job)}: {plain(result['optimizer'])}, {len(trials)} trials{made}")
    print()
    rows = [(name, f"{scores[name]:.3f}") for name in ("start", "best") if name in scores]
    print_table(("program", "score"), rows)
    print()
    cost = f", ${usage['cost_usd']:.4f}" if usage["cost_usd"] else ""
    print(f"{usage['lm_calls']} LM calls, {usage['tokens_in']} tokens in, {usage['tokens_out']} out{cost}")
    state: dict[str, dict[str, Any]] = result["program"]["state"] or {}
    for name, part in state.items():
        demos = len(part.get("demos") or [])
        print(f"{plain(name)}: {demos} demos; {plain(str(part.get('instructions') or ''))}")


def new_parser() -> argparse.ArgumentParser:
    """What reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="dspex optimize",
        usage="dspex optimize PROGRAM DATA --optimizer OPTIMIZER [options] [-- flags of dspex serve]",
        description="Start a server (or join one), and have an optimizer make a better program, as a job.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("program", metavar="PROGRAM", help="a signature, or a file in JSON")
    add("data", metavar="DATA", help="a file of rows")
    add("--optimizer", metavar="OPTIMIZER", required=True, help="see below")
    add("--compile", metavar="OPTION=VALUE", action="append", default=[], help="of its `compile`")
    add("--metric", metavar="METRIC", help="what a prediction is scored by; most optimizers need one")
    add(
        "--dev", metavar="SHARE", type=float, default=0.0, help="of the rows, kept back to score (default: 0)"
    )
    add("--format", choices=FORMATS, help="what the file DATA is")
    add("--data-signature", metavar="SIG", help="that its rows must fit (default: the program's)")
    add("--inputs", metavar="A,B", help="its fields that the program is given, instead of a signature")
    add("--module", metavar="NAME", help="the DSPy module of a signature (default: Predict)")
    add("--lm", metavar="MODEL", help="the default language model, such as openai/gpt-4o-mini or sim/demo")
    add("--model", metavar="NAME=MODEL", action="append", default=[], help="one that options name")
    add("--seed", metavar="N", type=int, help="of the optimizer (default: DSPy's own)")
    add("--threads", metavar="N", type=int, help="rows at once")
    add("--lm-calls", metavar="N", type=int, help="end when so many requests were made")
    add("--tokens", metavar="N", type=int, help="end when so many tokens were used")
    add("--usd", metavar="X", type=float, help="end when so much was spent")
    add("--key", metavar="KEY", help="of the job: one that has begun goes on")
    add("--save", metavar="ID", help="store the program under this id")
    add("--experiment", metavar="ID", help="have a run of that experiment tell of the job")
    add("--note", metavar="TEXT", help="why, for people who read it")
    add("-o", "--output", metavar="FILE", help="where the program goes, as JSON; - is stdout")
    add("--report", metavar="FILE", help="a report, by its ending: .html, .md, .json, .csv")
    add("--json", action="store_true", help="the result as JSON, for machines")
    add_connect_option(parser, "a server is started for this")
    return parser
