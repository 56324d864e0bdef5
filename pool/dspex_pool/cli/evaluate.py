"""`dspex evaluate`: a program measured on the rows of a file or a stored dataset, by metrics."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from dspex_pool.cli.call import chosen_server, name_or_map, read_payload
from dspex_pool.cli.connecting import add_connect_option, at_some_server
from dspex_pool.cli.dataset import add_selection, document_of, selection_of
from dspex_pool.cli.evaluation_progress import Progress
from dspex_pool.cli.evaluation_words import Program, read_metrics, read_program
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, OK, exits_with_code
from dspex_pool.cli.readable import plain, print_run, print_table, report
from dspex_pool.client import Client
from dspex_pool.datasets.operations import FORMATS
from dspex_pool.evaluation.request import METHOD
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError, Meta, error

EPILOG: Final = """\
PROGRAM is a signature, or a JSON file: a spec {module, signature, options}, {spec, state}, or what
`program.export` wrote; what has a state is stored first. DATA is a file in .csv, .json, .jsonl or
.parquet, whose rows are stored as a dataset of its name.
METRIC is NAME:OPTION=VALUE,…, or a spec in JSON, maybe with a name of your own and = before it.

  dspex evaluate "question -> answer" questions.csv --metric exact_match:field=answer --lm sim/demo
  dspex evaluate program.json dev.jsonl --metric right=exact_match:field=answer --metric SemanticF1
  dspex evaluate --program qa --tag stable --dataset qa --sample 200 --metric exact_match:field=answer

A run that was cut off goes on, with the rows that it was begun on, when it is made again with its
--evaluation.

exit codes: 0 every row has a prediction, 1 rows failed or the call did, 2 bad arguments, 3 no server
"""
SHOWN_CLUSTERS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An evaluation as the command line asks for it.

    Attributes:
        payload: Of the call, without program and dataset.
        meta: Of the call.
        program: What is measured.
        document: Rows to be stored first; None where the dataset is there.
        dataset: Which dataset, and which rows of it.
        as_json: How the result is printed.
    """

    payload: dict[str, object]
    meta: Meta
    program: Program
    document: dict[str, object] | None
    dataset: dict[str, object]
    as_json: bool


@exits_with_code
def run(arguments: list[str]) -> int:
    """Evaluate.

    Returns:
        0 when every row has a prediction; 1 when not; 2 for bad arguments; 3 without a server.
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    given = new_parser().parse_intermixed_args(arguments[:at])
    own_flags = arguments[at + 1 :]
    try:
        request = read_request(given)
        address, flags = chosen_server(given.connect, own_flags, one_worker=False)
    except DSPexError as refusal:
        print(f"dspex evaluate: {plain(refusal.message)}", file=sys.stderr)
        return BAD_ARGUMENTS
    lms: dict[str, object] = {} if given.lm is None else {"default": {"model": given.lm}}
    return at_some_server(
        "evaluate",
        address,
        lambda client: perform(client, request),
        flags=flags,
        lms=lms,
        as_json=given.json,
    )


def read_request(given: argparse.Namespace) -> Request:
    """The evaluation that the arguments ask for.

    Raises:
        CallerError: `invalid_argument` naming the word that cannot be.
    """
    words = list(given.words)
    expected = [
        word for word, lacks in (("PROGRAM", given.program), ("DATA", given.dataset)) if lacks is None
    ]
    if len(words) != len(expected):
        wanted = " and ".join(expected) or "neither PROGRAM nor DATA, which are named by options"
        raise error("invalid_argument", f"expected {wanted}, got {len(words)} words")
    program = read_program(words.pop(0) if given.program is None else None, given.module)
    document = None
    dataset = {"dataset": given.dataset, "version": given.data_version, "select": selection_of(given)}
    if words:
        document = document_of(
            words[0], given.format, given.data_signature or program.signature, given.inputs
        )
        dataset["dataset"] = document["dataset"]
    return Request(
        payload=_payload(given),
        meta=_meta(given),
        program=program,
        document=document,
        dataset={key: value for key, value in dataset.items() if value},
        as_json=given.json,
    )


def _payload(given: argparse.Namespace) -> dict[str, object]:
    payload: dict[str, object] = {
        "evaluation": given.evaluation or f"evaluation-{secrets.token_hex(4)}",
        "metrics": read_metrics(given.metric),
        "failure_score": given.failure_score,
    }
    for key in ("parallelism", "max_errors", "row_deadline_ms", "note", "experiment"):
        payload[key] = getattr(given, key)
    for key in ("adapter", "on_violation"):
        word = getattr(given, key)
        payload[key] = None if word is None else name_or_map(f"--{key.replace('_', '-')}", word)
    payload["trace"] = True if given.trace else None
    payload["again"] = True if given.again else None
    payload["config"] = read_payload(given.config) if given.config else None
    return {key: value for key, value in payload.items() if value is not None}


def _meta(given: argparse.Namespace) -> Meta:
    wanted: Meta = {
        key: getattr(given, key) for key in ("program", "version", "tag", "tenant", "deadline_ms")
    }
    return {key: value for key, value in wanted.items() if value is not None}


# What is done


async def perform(client: Client, request: Request) -> int:
    """Evaluate and print what came of it.

    Returns:
        An exit code.
    """
    evaluation = str(request.payload["evaluation"])
    try:
        named, meta = await request.program.named(client)
        await _store_rows(client, request)
        payload = {**request.payload, **named, "dataset": request.dataset}
        made = await _run(client, payload, {**request.meta, **meta}, request.dataset)
    except DSPexError as failure:
        code = report(failure, as_json=request.as_json)
        if failure.retryable or failure.code in ("cancelled", "evaluation_taken"):
            print(f"dspex evaluate: go on with --evaluation {plain(evaluation)}", file=sys.stderr)
        return code
    if request.as_json:
        print(json.dumps(to_json(made), indent=2))
    else:
        failures = await client.call("evaluation.failures", {"evaluation": evaluation})
        print_summary(made, cast("dict[str, Any]", failures))
        if made["failed"]:
            words = f"--evaluation {plain(evaluation)} --again runs those that failed once more"
            print(f"dspex evaluate: {words}", file=sys.stderr)
    return OK if made["done"] == made["rows"] else CALL_FAILED


async def _store_rows(client: Client, request: Request) -> None:
    """Make a file's rows the newest version of its dataset; an evaluation that has begun has its rows."""
    if request.document is None:
        return
    try:
        await client.call("evaluation.get", {"evaluation": request.payload["evaluation"]})
    except DSPexError as failure:
        if failure.code != "unknown_evaluation":
            raise
        await client.call("dataset.put", request.document)


async def _run(
    client: Client, payload: Mapping[str, object], meta: Meta, dataset: Mapping[str, object]
) -> dict[str, Any]:
    page = cast("dict[str, Any]", await client.call("dataset.rows", {**dataset, "limit": 1}))
    stream = client.stream_call(METHOD, payload, **meta)
    with Progress(page["total"], str(payload["evaluation"])) as progress:
        async for item in stream:
            progress.take(cast("dict[str, Any]", item))
    return cast("dict[str, Any]", (await stream.result()).value)


# What is said


def print_summary(made: Mapping[str, Any], failures: Mapping[str, Any]) -> None:
    """An evaluation for people: scores, counts, cost, and what went wrong most."""
    print(f"{plain(made['evaluation'])}: {made['done']} done, {made['failed']} failed of {made['rows']} rows")
    print()
    head = ("metric", "mean", f"{100 * made['confidence']:.0f} % interval", "passed", "scored", "lacking")
    print_table(head, [_score_cells(name, row) for name, row in made["scores"].items()])
    print()
    print(", ".join(_cost_words(made)))
    print_run(made["experiment"], made["run"])
    clusters = failures["clusters"]
    if clusters:
        print()
        rows = [_cluster_cells(cluster) for cluster in clusters[:SHOWN_CLUSTERS]]
        print_table(("rows", "what went wrong", "such as"), rows)
        if len(clusters) > SHOWN_CLUSTERS:
            print(f"and {len(clusters) - SHOWN_CLUSTERS} more kinds")


def _score_cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    ends = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    passed = "-" if row["passed"] is None else str(row["passed"])
    return (name, _number(row["mean"]), ends, passed, str(row["scored"]), str(row["failed"]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cost_words(made: Mapping[str, Any]) -> list[str]:
    usage, latency = made["usage"], made["latency_ms"]
    words = [f"{usage['lm_calls']} LM calls", f"{usage['tokens_in']} tokens in, {usage['tokens_out']} out"]
    if usage["cost_usd"] or not usage["unpriced"]:
        words.append(f"${usage['cost_usd']:.4f}")
    if usage["unpriced"]:
        words.append(f"{usage['unpriced']} calls of unknown price")
    if latency is not None:
        words.append(f"{latency['p50']:.0f} ms a row (p99 {latency['p99']:.0f} ms)")
    return words


def _cluster_cells(cluster: Mapping[str, Any]) -> tuple[str, ...]:
    whose = ".".join(filter(None, (cluster["metric"], cluster["part"])))
    if cluster["kind"] == "score":
        what = f"{whose} did not pass (mean {cluster['mean']:.2f})"
    else:
        what = ": ".join(filter(None, (whose, cluster["code"], cluster["message"])))
    return (str(cluster["count"]), what, ", ".join(map(str, cluster["rows"][:3])))


def new_parser() -> argparse.ArgumentParser:
    """What reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="dspex evaluate",
        usage="dspex evaluate PROGRAM DATA --metric METRIC … [options] [-- flags of dspex serve]\n"
        "       dspex evaluate --program ID --dataset ID --metric METRIC … [options]",
        description="Start a server (or join one), run a program on every row, and score each prediction.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", metavar="PROGRAM DATA", nargs="*", help="see below")
    add("--metric", metavar="METRIC", action="append", required=True, help="see below; several are possible")
    add("--program", metavar="ID", help="a stored program, instead of PROGRAM")
    add("--version", metavar="N", type=int, help="its version (default: the newest)")
    add("--tag", metavar="TAG", help="the version with that tag")
    add("--dataset", metavar="ID", help="a stored dataset, instead of DATA")
    add("--data-version", metavar="N", type=int, help="its version (default: the newest)")
    add("--format", choices=FORMATS, help="what the file DATA is")
    add("--data-signature", metavar="SIG", help="that its rows must fit (default: the program's)")
    add("--inputs", metavar="A,B", help="its fields that the program is given, instead of a signature")
    add_selection(parser)
    add("--module", metavar="NAME", help="the DSPy module of a signature (default: Predict)")
    add("--lm", metavar="MODEL", help="the default language model, such as openai/gpt-4o-mini or sim/demo")
    add("--adapter", metavar="NAME", help="how the prompt is written: chat, json, xml, … or JSON")
    add("--on-violation", metavar="NAME", help="what follows from an answer that does not fit, or JSON")
    add("--config", metavar="KEY=VALUE", action="append", default=[], help="temperature=0.7, …")
    add("--evaluation", metavar="ID", help="its id; one that has begun goes on")
    add("--again", action="store_true", help="with --evaluation: rows that have failed are run again")
    add("--failure-score", metavar="X", type=float, help="what a row without a score counts for (default: 0)")
    add("--parallelism", metavar="N", type=int, help="rows at once (default: the workers' places)")
    add("--max-errors", metavar="N", type=int, help="begin no more rows after so many have failed")
    add("--row-deadline-ms", metavar="MS", type=int, help="time of one row")
    add("--trace", action="store_true", help="keep the steps of each prediction")
    add("--experiment", metavar="ID", help="have a run of that experiment tell of it")
    add("--note", metavar="TEXT", help="why, for people who read it")
    add("--tenant", metavar="NAME", help="on whose behalf")
    add(
        "--deadline-ms", metavar="MS", type=int, default=86_400_000, help="time for all rows (default: a day)"
    )
    add("--json", action="store_true", help="the evaluation as JSON, for machines")
    add_connect_option(parser, "a server is started for this")
    return parser
