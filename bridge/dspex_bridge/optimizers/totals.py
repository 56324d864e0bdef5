"""How many trials an optimizer will make, where its options say so: for what is left to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .catalog import Chosen

_Count = Callable[[Mapping[str, Any], int], int | None]


def _random_search(options: Mapping[str, Any], predictors: int) -> int:
    restrict = options.get("restrict")
    return options["num_candidate_programs"] + 3 if restrict is None else len(set(restrict))


def _mipro(options: Mapping[str, Any], predictors: int) -> int | None:
    trials: int | None = options.get("num_trials")
    if trials is None:
        return None
    if not options["minibatch"]:
        return trials + 1
    every: int = options["minibatch_full_eval_steps"]
    return trials + trials // every + 1 + int(trials % every != 0)


_COUNTS: Final[Mapping[str, _Count]] = {
    "BootstrapFewShotWithRandomSearch": _random_search,
    "BootstrapFewShotWithOptuna": lambda options, predictors: options["num_candidate_programs"],
    "COPRO": lambda options, predictors: options["breadth"] * options["depth"] * predictors,
    "InferRules": lambda options, predictors: options["num_candidates"],
    "MIPROv2": _mipro,
    "SIMBA": lambda options, predictors: (
        (options["num_candidates"] + 1) * options["max_steps"]
        + min(options["max_steps"], options["num_candidates"])
        + 1
    ),
}


def expected_trials(chosen: Chosen, predictors: int) -> int | None:
    """How many trials there will be, at most; None where that cannot be said.

    Args:
        chosen: The optimizer.
        predictors: Of the program.
    """
    count = _COUNTS.get(chosen.row.name)
    return None if count is None else count({**chosen.options, **chosen.compile}, predictors)
