"""What a server may answer to `system.info`, for tests of what is shown of it."""

from __future__ import annotations

from typing import Any, Final

MIB: Final = 1024 * 1024
STATES: Final = ("busy", "draining", "ready", "starting")
JOB_STATES: Final = ("running", "waiting", "starting")
JOB_PROGRESS: Final[tuple[dict[str, object], ...]] = (
    {"phase": "trials", "done": 12, "total": 40, "best_score": 0.8125},
    {"phase": "trials", "done": 7, "waiting_for": "app.judge"},
    {},
)
SERVED: Final = (10, 12_345, 1_234_567, 0)


def snapshot(
    *, workers: int = 4, tenants: int = 6, clients: int = 2, jobs: int = 0, **more: object
) -> dict[str, Any]:
    """A busy server's.

    Args:
        workers: How many it has.
        tenants: How many share it.
        clients: How many are connected.
        jobs: How many it runs.
        more: Other values, by key.
    """
    return {
        "server": "dspex/0.1.0",
        "instance": "ab12",
        "pid": 4700,
        "uptime_s": 11_520.2,
        "loop": "uvloop",
        "spawning": "zygote",
        "draining": False,
        "workers": [_worker(number) for number in range(1, workers + 1)],
        "scale": {"min": 1, "max": 8, "target": 4, "ready": 3, "starting": 1},
        "lanes": {name: _lane(name) for name in ("interactive", "batch", "control")},
        "tenants": [_tenant(number) for number in range(tenants)],
        "clients": [_client(number) for number in range(1, clients + 1)],
        "jobs": [_job(number) for number in range(1, jobs + 1)],
        "job_counts": {"open": jobs, "done": 0, "failed": 0, "cancelled": 0, "answers_kept": 100 * jobs},
        "latencies": {"all": _latencies(100), "queue": _latencies(1)},
        "recycles": {"age": 3, "calls": 17},
        "errors": {"overloaded": 12, "timeout": 3},
        "calls_per_s": 812.3,
        "waiting": 34,
        "open_bytes": 12_345_678,
        "ready_workers": 3,
        "replied": 1_234_567,
        "failed": 15,
        "restarts": 2,
        "quarantined": 1,
        "retry_tokens": 99.3,
        "shed": 0,
        **more,
    }


def _worker(number: int) -> dict[str, object]:
    state = STATES[(number - 1) % len(STATES)]
    return {
        "worker": number,
        "slot": number - 1,
        "pid": 4709 + number,
        "state": state,
        "calls": 3,
        "served": SERVED[(number - 1) % len(SERVED)],
        "age_s": 300.4,
        "memory_bytes": 100 * MIB,
        "own_bytes": 2 * MIB,
        "programs": 1,
        "program_bytes": 4096,
        "retiring": "memory" if state == "draining" else None,
    }


def _job(number: int) -> dict[str, object]:
    return {
        "job": f"job-01a21a80837e-{number:012d}",
        "kind": "optimize",
        "state": JOB_STATES[(number - 1) % len(JOB_STATES)],
        "attempt": number,
        "worker": 100 + number,
        "pid": 5000 + number,
        "memory_bytes": 200 * MIB,
        "elapsed_s": 7_265.2,
        "progress": JOB_PROGRESS[(number - 1) % len(JOB_PROGRESS)],
        "best_score": 0.5 if number > 1 else None,
        "spent": {"lm_calls": 1_234 * number, "tokens_in": 5, "tokens_out": 5, "cost_usd": 1.205 * number},
    }


def _lane(name: str) -> dict[str, object]:
    return {"running": 12, "waiting": 34 if name == "batch" else 0, "oldest_wait_ms": 1234.5}


def _tenant(number: int) -> dict[str, object]:
    return {"tenant": f"tenant-{number}", "weight": number + 1, "running": 3, "waiting": 4}


def _client(number: int) -> dict[str, object]:
    return {
        "client": number,
        "name": "dspex-python/1",
        "tenant": f"client-{number}",
        "transport": "stdio" if number == 1 else "unix",
        "peer_pid": None if number == 1 else 5000 + number,
        "open_calls": 12,
    }


def _latencies(ms: float) -> dict[str, object]:
    return {"count": 41_234, "p50_ms": ms, "p90_ms": 2 * ms, "p99_ms": 9 * ms, "max_ms": 70_000.1}
