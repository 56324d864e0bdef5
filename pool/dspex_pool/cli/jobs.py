"""`dspex jobs`: what runs for hours, looked at from a shell."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final, cast

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.connecting import add_connect_option, at_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK, exits_with_code
from dspex_pool.cli.readable import field_text, plain, print_table, report, result_text
from dspex_pool.client import Client
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError

EPILOG: Final = """\
  dspex jobs list --state open
  dspex jobs follow job-01a21a80837e-ed6ad3014a6b
  dspex jobs result job-01a21a80837e-ed6ad3014a6b --json

Without a server to join, one is started that looks and runs no jobs; the store is that of the settings.

exit codes: 0 ok; 1 the server refused, or the job that was followed has failed; 2 bad arguments; 3 no server
"""
PAGE: Final = 1000
BUDGET: Final = ("lm_calls", "tokens", "usd")
STATES: Final = ("open", "queued", "running", "done", "failed", "cancelled")
LOOKING: Final = ("--job-workers", "0")
"""A server that is started to look at jobs must not take one up and drop it again."""
DEADLINE_MS: Final = 86_400_000
"""A call's longest; a job that takes longer is followed anew."""


@exits_with_code
def run(arguments: list[str]) -> int:
    """List and show jobs, follow, cancel, resume and delete one.

    Returns:
        0; 1 when the server refuses, or a job that was followed did not come to its end; 2 for bad
        arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)
    try:
        address = read_address(given.connect, os.environ)
        flags = server_flags(LOOKING)
    except DSPexError as refusal:
        print(f"dspex jobs: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS

    async def perform(client: Client) -> int:
        return await _PERFORM[given.action](client, given)

    if address is not None:
        return at_server("jobs", given.connect, perform, as_json=given.json)
    return asyncio.run(_at_own_server(perform, flags, given))


async def _at_own_server(
    perform: Callable[[Client], Coroutine[Any, Any, int]], flags: list[str], given: argparse.Namespace
) -> int:
    try:
        async with Client.start(flags=flags) as client:
            return await perform(client)
    except DSPexError as failure:
        return report(failure, as_json=given.json)
    except BrokenPipeError:  # the reader of stdout is gone, and not the server
        raise
    except (OSError, TimeoutError) as reason:
        print(f"dspex jobs: no server: {reason or 'it did not answer in time'}", file=sys.stderr)
        return NO_SERVER


async def _list(client: Client, given: argparse.Namespace) -> int:
    rows = [row async for row in _pages(client, {"kind": given.kind, "state": given.state}, given.limit)]
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
        return OK
    head = ("job", "kind", "state", "attempt", "best", "spent", "progress", "note")
    print_table(head, [_cells(row) for row in rows])
    return OK


async def _pages(client: Client, wish: Mapping[str, object], limit: int) -> AsyncIterator[dict[str, Any]]:
    asked: dict[str, object] = {name: value for name, value in wish.items() if value is not None}
    left = limit
    while left > 0:
        page = await _ask(client, "list", {**asked, "limit": min(PAGE, left)})
        for row in page["jobs"]:
            yield row
        left -= len(page["jobs"])
        if page["next"] is None:
            return
        asked["after"] = page["next"]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    best = row["best_score"]
    return (
        row["job"],
        row["kind"],
        "cancelling" if row["cancelling"] else row["state"],
        str(row["attempt"]),
        "" if best is None else f"{best:g}",
        spent_text(row["spent"]),
        progress_text(row["progress"]),
        row["note"] or "",
    )


def spent_text(spent: Mapping[str, Any]) -> str:
    """What a job has cost, in a few words."""
    tokens = spent["tokens_in"] + spent["tokens_out"]
    words = [f"{spent['lm_calls']} calls", f"{tokens} tokens"]
    return ", ".join(words + ([f"${spent['cost_usd']:.4g}"] if spent["cost_usd"] else []))


def progress_text(progress: Mapping[str, Any]) -> str:
    """The latest figures, in a few words."""
    words = [str(progress["phase"])] if progress.get("phase") else []
    if progress.get("total"):
        words.append(f"{progress.get('done', 0)}/{progress['total']}")
    if isinstance(progress.get("best_score"), int | float):
        words.append(f"best {progress['best_score']:g}")
    if isinstance(progress.get("remaining_s"), int | float):
        words.append(f"{progress['remaining_s']:.0f} s left")
    if progress.get("waiting_for"):
        words.append(f"waits for {progress['waiting_for']}")
    return " ".join(words)


async def _show(client: Client, given: argparse.Namespace) -> int:
    row = await _ask(client, "get", {"job": given.job, "request": True})
    if given.json:
        print(json.dumps(to_json(row), indent=2))
        return OK
    for name, value in row.items():
        if value not in (None, {}, []):
            print(field_text(name, value if isinstance(value, str) else to_json(value)))
    return OK


async def _follow(client: Client, given: argparse.Namespace) -> int:
    stream = client.stream_call(
        "job.follow", {"job": given.job, "after": given.after}, deadline_ms=DEADLINE_MS
    )
    async for item in stream:
        _print_item(cast("dict[str, Any]", item), given)
    row = cast("dict[str, Any]", (await stream.result()).value)
    if given.json:
        print(json.dumps(to_json({"ended": row})))
    else:
        print(f"{row['state']} after {row['attempt']} attempts: {spent_text(row['spent'])}")
        if row["replay"] is not None and row["replay"]["diverged"]:
            print(f"{row['replay']['diverged']} answers of earlier attempts were of no use", file=sys.stderr)
        if row["error"] is not None:
            print(plain(f"{row['error']['code']}: {row['error']['message']}"), file=sys.stderr)
    return OK if row["state"] == "done" else CALL_FAILED


def _print_item(item: dict[str, Any], given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(to_json(item)), flush=True)
    elif "event" in item:
        print(event_text(item["event"]), flush=True)
    elif sys.stderr.isatty():
        print(f"\r\x1b[K{plain(progress_text(item['progress']))}", end="\r", file=sys.stderr, flush=True)


def event_text(event: Mapping[str, Any]) -> str:
    """An event, in a line."""
    known = ("n", "at", "attempt", "type")
    rest = {name: value for name, value in event.items() if name not in known}
    said = " ".join(f"{name}={_word(value)}" for name, value in rest.items() if value is not None)
    return plain(f"{event['n']:>5}  {event['at']:%H:%M:%S}  {event['type']}  {said}".rstrip()).replace(
        "\n", " "
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False)


async def _cancel(client: Client, given: argparse.Namespace) -> int:
    row = await _ask(client, "cancel", {"job": given.job})
    print(json.dumps(to_json(row)) if given.json else "cancelling" if row["cancelling"] else row["state"])
    return OK


async def _resume(client: Client, given: argparse.Namespace) -> int:
    budget = {name: getattr(given, name) for name in BUDGET if getattr(given, name) is not None}
    wish: dict[str, object] = {"job": given.job}
    if budget:
        wish["budget"] = budget
    if given.deadline_s is not None:
        wish["deadline_s"] = given.deadline_s
    row = await _ask(client, "resume", wish)
    print(json.dumps(to_json(row)) if given.json else row["state"])
    return OK


async def _best(client: Client, given: argparse.Namespace) -> int:
    best = await _ask(client, "best", {"job": given.job})
    if given.json:
        print(json.dumps(to_json(best)))
    elif best:
        print(f"score {best['score']:g}")
        print(result_text(best["content"]))
    else:
        print("none yet")
    return OK


async def _delete(client: Client, given: argparse.Namespace) -> int:
    await _ask(client, "delete", {"job": given.job})
    print(json.dumps({"deleted": given.job}) if given.json else "deleted")
    return OK


async def _result(client: Client, given: argparse.Namespace) -> int:
    answer = await _ask(client, "result", {"job": given.job})
    if given.json:
        print(json.dumps(to_json(answer)))
        return OK
    if answer["saved"] is not None:
        print(f"saved as {plain(answer['saved']['program'])} version {answer['saved']['version']}")
    print(result_text(answer["result"]))
    return OK


_PERFORM: Final = {
    "list": _list,
    "show": _show,
    "follow": _follow,
    "cancel": _cancel,
    "resume": _resume,
    "best": _best,
    "result": _result,
    "delete": _delete,
}


async def _ask(client: Client, action: str, payload: Mapping[str, object]) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call(f"job.{action}", payload))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex jobs",
        description="Jobs: work of hours that is in the store, whoever dies.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, what in (
        ("list", "the jobs, the newest first"),
        ("show", "all that is known of one, with what was asked for"),
        ("follow", "its events and figures as they come, until it has ended"),
        ("cancel", "end one; its best result so far stays"),
        ("resume", "have one go on that has failed or was cancelled, from what it has paid for"),
        ("best", "the best result of one so far, whatever becomes of it"),
        ("result", "what one that is done came to"),
        ("delete", "forget one that has ended, with its events and answers; a program that it saved stays"),
    ):
        action = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
        add_connect_option(action, "a server is started for this")
        action.add_argument("--json", action="store_true", help="JSON, for machines")
        if name == "list":
            action.add_argument("--kind", help="only jobs of this kind")
            action.add_argument("--state", choices=STATES, help="only those; open: queued and running ones")
            action.add_argument("--limit", type=int, default=100, help="jobs at most")
        else:
            action.add_argument("job", metavar="JOB", help="id of a job")
        if name == "resume":
            _add_limits(action)
        if name == "follow":
            action.add_argument("--after", type=int, default=0, help="number of the last event that is known")
    return parser


def _add_limits(action: argparse.ArgumentParser) -> None:
    """Those of a budget replace the former ones, all together; none leaves them as they were."""
    action.add_argument("--lm-calls", metavar="N", type=int, help="requests at most, those before included")
    action.add_argument("--tokens", metavar="N", type=int, help="tokens at most, those before included")
    action.add_argument("--usd", metavar="X", type=float, help="dollars at most, those before included")
    action.add_argument("--deadline-s", metavar="S", type=float, help="end after so long from now")
