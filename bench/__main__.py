"""`python -m bench [CASE …]`: run the cases, print a table, write JSON."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from pathlib import Path

import dspy

from . import batch_cases, cases, job_cases, pool_cases, program_cases, reading_cases, store_cases
from .cases import Figures

CASES = (
    cases.CASES
    | batch_cases.CASES
    | pool_cases.CASES
    | store_cases.CASES
    | program_cases.CASES
    | job_cases.CASES
    | reading_cases.CASES
)
RESULTS = Path(__file__).parent / "results" / "latest.json"

AIMS = {
    ("startup", "hello_ms"): "< 300",
    ("echo", "p50_ms"): "<= 0.25",
    ("echo", "pipelined_per_s"): ">= 40,000",
    ("predict_against_plain", "ratio_to_async"): ">= 0.85",
    ("against_web", "ratio"): ">= 3",
    ("against_web", "ratio_to_dspys_lm"): ">= 3",
    ("waiting_for_models", "per_s"): ">= 1,000",
    ("waiting_for_models", "p99_ms"): "< 300",
    ("replacement", "max_ms"): "< 100",
    ("lm_engines", "predict_ratio"): "<= 0.65",
    ("recycle", "p99_ratio_2000"): "<= 1.5",
    ("recycle", "p99_ratio_200"): "<= 1.5",
    ("fairness", "ratio"): "<= 1.5",
    ("beside_a_job", "p99_ratio"): "<= 1.5",
    ("long_evaluations", "html_ping_p99_ms"): "< 5",
    ("long_evaluations", "comparison_html_ping_p99_ms"): "< 5",
    ("long_evaluations", "paging_ping_p99_ms"): "< 5",
    ("stored_write", "normal_p50_ms"): "< 1",
    ("new_version", "switch_p50_ms"): "< 5",
    ("worker_state", "record_in_ms"): "< 2",
    ("worker_state", "record_out_ms"): "< 2",
    ("worker_state", "switch_ms"): "< 5",
    ("worker_share", "added_to_dspy_alone"): "<= 0.1",
}


def main(names: list[str]) -> int:
    """Run the cases named, or all; 2 when one does not exist."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"bench: no case {', '.join(unknown)}; the cases are: {', '.join(CASES)}", file=sys.stderr)
        return 2
    results: dict[str, Figures] = {}
    for name in names or CASES:
        print(f"… {name}", file=sys.stderr, flush=True)
        results[name] = asyncio.run(_run(name))
        _print_rows(name, results[name])
    _write(results)
    return 0


async def _run(name: str) -> Figures:
    return await CASES[name]()


def _print_rows(name: str, figures: Figures) -> None:
    for figure, value in figures.items():
        aim = AIMS.get((name, figure), "")
        text = f"{value:,.3f}" if value < 100 else f"{value:,.0f}"
        print(f"{name:<24}{figure:<22}{text:>12}   {aim}", flush=True)


def _write(results: dict[str, Figures]) -> None:
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "dspy": dspy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    print(f"written to {RESULTS.relative_to(RESULTS.parent.parent.parent)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
