"""Writes the pages that are generated from code: `make docs`; with `--check`, only compares.

A page that repeats a table of the code by hand would be wrong one day. Each generated page is
a row of `PAGES`: its file and the function that returns its text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from dspex_bridge.adapters.classes import describe_adapters
from dspex_bridge.metrics.catalog import describe_metrics
from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.optimizers.classes import describe_optimizers
from dspex_bridge.optimizers.options import LEFT_OUT
from dspex_bridge.optimizers.request import Optimize
from dspex_bridge.programs.records import DSPY_VERSION
from dspex_pool.config import describe_settings
from dspex_protocol.errors import CODES, Fault
from dspex_protocol.records import describe

DOCS: Final = Path(__file__).resolve().parent

_FAULTS: Final[Mapping[Fault, tuple[str, str]]] = {
    Fault.WIRE: ("The other side broke the protocol", "Fix the peer; the same frames fail again."),
    Fault.CALLER: ("The call asks for something that cannot be", "Fix the call."),
    Fault.SERVICE: ("The server could not do it now", "Retry where the table says so, within a budget."),
    Fault.PROGRAM: (
        "The program or its language model failed",
        "Look at the program, the model or the host function.",
    ),
}


def errors_page() -> str:
    """docs/errors.md: every code, by whose fault it is."""
    return "\n".join(_errors_lines()) + "\n"


def _errors_lines() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Every code that a FAIL may carry; section 6 of [protocol.md](protocol.md) has its other fields."
    yield "This page is generated from `dspex_protocol/errors.py` by `make docs`."
    yield "*Retryable* is what the code says by itself; a FAIL's own `retryable` counts."
    for fault, (title, advice) in _FAULTS.items():
        yield from ("", f"## {title} (`{fault}`)", "", advice, "")
        yield from ("| code | retryable | meaning |", "|---|---|---|")
        for code, row in CODES.items():
            if row.fault is fault:
                yield f"| `{code}` | {'yes' if row.retryable else 'no'} | {row.meaning} |"


def settings_page() -> str:
    """docs/settings.md: every setting of the server."""
    return "\n".join(_settings_lines()) + "\n"


def _settings_lines() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Every setting of `dspex serve`: a flag, an environment variable or a key in a file."
    yield "A flag goes before the environment, the environment before the file, the file before the default."
    yield "This page is generated from `dspex_pool/config.py` by `make docs`."
    yield "`dspex config` prints those in effect and where each came from."
    yield ""
    yield "The file is TOML, named by `--config-file PATH` or `DSPEX_CONFIG_FILE`; there is none by default."
    yield "Its keys are the settings' names, and its values are typed:"
    yield from ("", "```toml", "workers = 4", "grace_s = 0.5", "zygote = true", 'lm = "openai/gpt-4o-mini"')
    yield "```"
    yield from (
        "",
        "| key | flag and variable | type | unit | default | what and why |",
        "|---|---|---|---|---|---|",
    )
    for row in describe_settings():
        default = "" if row["default"] in ("", None) else f"`{row['default']}`"
        names = f"`{row['name']}` | `{row['flag']}` `{row['variable']}`"
        yield f"| {names} | {row['type']} | {row['unit']} | {default} | {row['why']} |"


_ELSEWHERE: Final[Mapping[str, str]] = {
    "majority": "the module `Majority`, around any module",
    "Tool": "the option `tools`, of host functions",
    "Parallel": "`batch.run`, which spreads rows over the workers; or calls at once, beside each other",
}
"""Public names of `dspy.predict` that are no modules, and where what they do is to be found."""


def modules_page() -> str:
    """docs/modules.md: every module of the installed DSPy, and how far it can be used."""
    return "\n".join(_modules_lines()) + "\n"


def _modules_lines() -> Iterator[str]:
    rows = Catalog().describe()
    available = [row for row in rows if row["available"]]
    yield "# DSPy's modules"
    yield ""
    yield f"What DSPy {DSPY_VERSION} has for predictions, and how far it can be used from outside Python."
    yield "This page is generated from the installed DSPy by `make docs`; `system.describe` tells the same."
    yield "Section 7.2 of [protocol.md](protocol.md) says how tools, rewards and inner modules are given;"
    yield "`examples/agent.exs` and `examples/agent.py` show it."
    yield ""
    yield f"{len(available)} of {len(rows)} modules can be used."
    yield "*Thread* says that DSPy has no async form of it: a call then takes a thread of its worker."
    yield from ("", "| module | what it does | options (**required**) | |", "|---|---|---|---|")
    for row in available:
        thread = "" if row["async"] else "thread"
        yield f"| `{row['name']}` | {row['doc']} | {_options_cell(row)} | {thread} |"
    yield from ("", "## Options", "", "| option | type | what it does |", "|---|---|---|")
    options = {name: told for row in available for name, told in _options(row).items()}
    for name, told in sorted(options.items(), key=lambda item: item[0].lower()):
        yield f"| `{name}` | {told['type']} | {told['doc']} |"
    yield from ("", "## Gaps, and what is elsewhere", "", "| name | why, or where |", "|---|---|")
    for row in rows:
        if not row["available"]:
            yield f"| `{row['name']}` | not here yet: {row['reason']} |"
    for name, where in _ELSEWHERE.items():
        yield f"| `{name}` | {where} |"


def adapters_page() -> str:
    """docs/adapters.md: every adapter of the installed DSPy, with its options."""
    return "\n".join(_adapters_lines()) + "\n"


def _adapters_lines() -> Iterator[str]:
    rows = describe_adapters()
    yield "# DSPy's adapters"
    yield ""
    yield f"What DSPy {DSPY_VERSION} has for writing prompts and reading answers, by their names here."
    yield "This page is generated from the installed DSPy by `make docs`; `system.describe` tells the same."
    yield "Section 7.2 of [protocol.md](protocol.md) says where an adapter is chosen;"
    yield "`examples/adapters.exs` and `examples/adapters.py` show it."
    yield "*Streams* says that its fields can be read while the answer is still coming."
    yield ""
    yield "| adapter | in DSPy | options (**required**) | |"
    yield "|---|---|---|---|"
    for row in rows:
        streams = "streams" if row["streams"] else ""
        yield f"| `{row['name']}` | `{row['class']}` | {_options_cell(row)} | {streams} |"
    yield from ("", "## Options", "", "| option | type | what it does |", "|---|---|---|")
    options = {name: told for row in rows for name, told in _options(row).items()}
    for name, told in sorted(options.items()):
        yield f"| `{name}` | {told['type']} | {told['doc']} |"


_NO_METRICS: Final[Mapping[str, str]] = {
    "normalize_text": "the option `normalize: dspy` of the metrics that compare texts",
    "Evaluate": "`evaluation.run`, which spreads rows over the workers ([evaluation.md](evaluation.md))",
    "EvaluationResult": "what `evaluation.run` answers, and `evaluation.rows`",
}
"""Public names of `dspy.evaluate` that are no metrics, and where what they do is to be found."""

_ASKS: Final[Mapping[object, str]] = {
    "model": "a language model",
    "host": "the host",
    "parts": "what its parts ask",
    None: "",
}


def metrics_page() -> str:
    """docs/metrics.md: every metric, ours and those of the installed DSPy."""
    return "\n".join(_metrics_lines()) + "\n"


def _metrics_lines() -> Iterator[str]:
    rows = describe_metrics()
    yield "# Metrics"
    yield ""
    yield "How good a prediction is for an example: a spec `{metric, options}`, and a score from 0 to 1."
    yield "This page is generated from the code and from the installed DSPy by `make docs`;"
    yield "`system.describe` tells the same."
    yield "Section 7.7 of [protocol.md](protocol.md) says how rows are scored, and what a score is;"
    yield "`examples/metrics.exs` and `examples/metrics.py` show it."
    yield ""
    yield "*Asks* says whom a metric asks for each row; the others ask nobody."
    for kind, title in (("dspex", "Ours"), ("dspy", f"Those of DSPy {DSPY_VERSION}")):
        yield from ("", f"## {title}", "", "| metric | what it says | options (**required**) | asks |")
        yield "|---|---|---|---|"
        for row in rows:
            if row["kind"] == kind:
                yield f"| `{row['name']}` | {row['doc']} | {_options_cell(row)} | {_ASKS[row['asks']]} |"
    yield ""
    yield "`edit_distance` needs the package `rapidfuzz`, which the extra `metrics` brings."
    yield from (
        "",
        "## Options",
        "",
        "| option | of | type | default | what it does |",
        "|---|---|---|---|---|",
    )
    for (name, told), metrics in sorted(_metric_options(rows).items()):
        yield f"| `{name}` | {', '.join(f'`{metric}`' for metric in metrics)} | {told} |"
    yield from ("", "## Gaps, and what is elsewhere", "", "| name | why, or where |", "|---|---|")
    for name, where in _NO_METRICS.items():
        yield f"| `{name}` | {where} |"


def _metric_options(rows: list[dict[str, object]]) -> dict[tuple[str, str], list[object]]:
    """By name and by what is said of it, the metrics that have it so."""
    found: dict[tuple[str, str], list[object]] = {}
    for row in rows:
        for name, told in _options(row).items():
            empty = told["required"] or told["default"] in (None, [], {})
            default = "" if empty else f"`{json.dumps(told['default'])}`"
            found.setdefault((name, f"{told['type']} | {default} | {told['doc']}"), []).append(row["name"])
    return found


def optimizers_page() -> str:
    """docs/optimizers.md: every optimizer of the installed DSPy, with its options."""
    return "\n".join(_optimizers_lines()) + "\n"


def _optimizers_lines() -> Iterator[str]:
    rows = describe_optimizers()
    yield "# DSPy's optimizers"
    yield ""
    yield "An optimizer makes a better program of a program, some rows and a metric: a spec"
    yield "`{optimizer, options, compile}`, with the options of its constructor and those of its `compile`."
    yield f"This page is generated from DSPy {DSPY_VERSION} by `make docs`; `system.describe` tells the same."
    yield from ("", *_OPTIMIZERS_PROSE.strip().splitlines())
    yield from ("", "## The request", "", "| field | type | what it is |", "|---|---|---|")
    for name, field in cast("Mapping[str, Mapping[str, object]]", describe(Optimize)).items():
        yield f"| `{name}` | {field['type']} | {field['doc']} |"
    yield from (
        "",
        "## Those that run",
        "",
        "| optimizer | what it does | takes (**needs**) |",
        "|---|---|---|",
    )
    for row in rows:
        if row["available"]:
            needs = cast("list[str]", row["needs"])
            takes = [f"**{name}**" if name in needs else name for name in cast("list[str]", row["takes"])]
            yield f"| `{row['name']}` | {row['doc']} | {', '.join(takes)} |"
    yield from ("", "## Those that do not", "", "| optimizer | why |", "|---|---|")
    for row in rows:
        if not row["available"]:
            yield f"| `{row['name']}` | {row['reason']} |"
    yield from ("", "## Options", "", "In bold what must be given; the rest has DSPy's defaults.", "")
    yield from ("| optimizer | `options` | `compile` |", "|---|---|---|")
    for row in rows:
        compiling = _options_cell({"options": row["compile"]})
        yield f"| `{row['name']}` | {_options_cell(row)} | {compiling} |"
    yield from ("", "| option | of | type | default | what it does |", "|---|---|---|---|---|")
    both = [
        {**row, "options": {**_options(row), **cast("dict[str, object]", row["compile"])}} for row in rows
    ]
    for (name, told), optimizers in sorted(_metric_options(both).items()):
        yield f"| `{name}` | {', '.join(f'`{optimizer}`' for optimizer in optimizers)} | {told} |"
    yield from ("", "## What is left out", "", "Arguments of DSPy's that no request can set.", "")
    yield from ("| argument | why |", "|---|---|")
    for name, why in sorted(LEFT_OUT.items()):
        yield f"| `{name}` | {why} |"


_OPTIMIZERS_PROSE: Final = """
```elixir
optimizer = DSPex.Optimizer.new(:MIPROv2, auto: "light")

{:ok, made} =
  DSPex.Optimizers.optimize(MyApp.DSPex, program, optimizer,
    metric: DSPex.Metric.exact_match("answer"), trainset: train, valset: dev, budget: [usd: 5.0])

made.scores      # %{"start" => 0.41, "best" => 0.68}
made.program     # the next version of the program
```

[`examples/optimize.exs`](../examples/optimize.exs) and [`examples/optimize.py`](../examples/optimize.py)
show it. An optimizer runs as a [job](jobs.md) of the kind `optimize`: whoever dies, it goes on, and
nothing is paid for twice.

## What holds for all of them

- **The result is DSPy's.** With the same seed and the same answers of the models it is the program that
  DSPy makes in process, of the same questions; tests hold ten optimizers against that, also while their
  workers are killed.
- **Asked once.** A job asks a model the same question once, and gives the answer to all who ask it, as
  DSPy's own cache does. A rollout of its own (`rollout_id`) makes it another question. So a program that
  is tried twice costs once, and the order of threads makes no difference to a replay.
- **Seeds.** `seed` is the optimizer's own where it has one, and else of Python's and numpy's random
  sources. Without it the optimizer has DSPy's default. What DSPy leaves without a seed (Optuna in
  `BootstrapFewShotWithOptuna`, the shuffling of `BetterTogether`) has one.
- **Slow rows are run once.** DSPy runs a row again that has taken two minutes; here it does not: models
  have a `timeout_s`, and jobs a deadline.
- **Failing rows.** A row whose program or metric fails scores nothing, and after ten in one evaluation
  (`max_errors`) DSPy gives the evaluation up. The result counts them: `failed` (modules that raised),
  `unscored` (by the metric), `unanswered` (by a model), each with one of the messages.
- **Scores.** With a `valset` the program is scored on it before and after. Without, `start` and `best` are
  what the optimizer itself has measured, where it has.
- **Host functions** may be metrics, tools and models; they are asked from DSPy's threads. What one has
  answered is kept too, but for a module's own `forward`, which runs in each attempt.
- **Models** that a request names need not be there when a server goes on with the job: it waits for them
  (`waiting_for_models` in its progress), as for host functions.
- **A teacher** that is named teaches as it is, with its demos, and with its own `lm` where it has one.
- **The program** becomes the next version of `program`, with optimizer and scores in its history. Of a
  `spec` nothing is stored unless `save_as` says so; the result has it either way.

## What is told meanwhile

Events, numbered and kept: `optimizing`; `phase` (`bootstrap`, `propose`, `evaluate`, and in which `step`);
`trial`, with its number, `score` from 0 to 1, how many `rows`, whether these are all (`full`), what was
tried in short (`candidate`: instructions and number of demos by predictor) and `is_best`; `score`, of
the start and of the result; `optimized`. The best program so far is in `job.best` each time that a trial
on all rows is better. Progress has `trials`, `scored_rows`, `score`, `best_score`, and where the options say
how much there is to do `done`, `total` and `remaining_s`.

They come from DSPy's callbacks, from GEPA's own, and of SIMBA from what it hands to `dspy.Parallel`; of
`LabeledFewShot`, `BootstrapFewShot`, `KNNFewShot`, `Ensemble`, `ReAnchor` and `BootstrapFinetune` there are
no trials, as they make one program only.

## What is special

- `Ensemble` takes `programs` instead of a program, and makes a program of the module `Ensemble`, which asks
  them all, or `size` of them by what the inputs are, and takes the last output that most say.
- `KNNFewShot` makes a program of the module `KNNFewShot`, which finds rows and bootstraps demos of them
  at each call, without a metric. The rows are part of its spec.
- `BootstrapFinetune` has the models of the program's predictors trained, by the provider or locally, and
  the state names what was made: `NAME@MODEL`. A model is made once, however often the job begins anew.
- `BetterTogether` takes its `optimizers` as a map of names to `{optimizer, options, compile}`; `strategy`
  says in which order they run.
- `GEPA` wants a metric that says what is wrong; any metric with feedback does, others are put in words.
- `InferRules` returns a program with the rules of its last candidate, whichever was best: so does DSPy's,
  which writes into a class that all candidates share. `job.best` has the best one.
- `ReAnchor` needs outputs of type bool or a choice, each with a description, and makes sense with models
  that tell probabilities.
"""


def _options(row: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    return cast("Mapping[str, Mapping[str, object]]", row["options"])


def _options_cell(row: Mapping[str, object]) -> str:
    names = [f"**`{name}`**" if told["required"] else f"`{name}`" for name, told in _options(row).items()]
    return ", ".join(names)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "adapters.md": adapters_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "modules.md": modules_page,
    "optimizers.md": optimizers_page,
    "settings.md": settings_page,
}


def stale_pages(docs: Path = DOCS) -> list[str]:
    """Names of the pages whose file is missing or differs from what the code says."""
    return [name for name, page in PAGES.items() if _read(docs / name) != page()]


def write_pages(docs: Path = DOCS) -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (docs / name).write_text(page(), encoding="utf-8")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name the stale ones and return 1."""
    if arguments == ["--check"]:
        stale = stale_pages()
        for name in stale:
            print(f"docs/{name} is stale: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
