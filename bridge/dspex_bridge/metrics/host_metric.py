"""A metric that is a function of the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from dspex_protocol.records import Doc, Length, Range

from ..values.outgoing import to_wire
from .classes import Building, MetricClass
from .metric import Asking, Metric
from .rows import Row
from .scores import Score, score_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMetric:
    """What a function of the host says: a number from 0 to 1, a boolean, or a map with feedback."""

    function: Annotated[
        str,
        Length(1, 128),
        Doc(
            "name of the host function; called with {example, prediction}, and with {predictor} where an"
            " optimizer wants feedback for one; answers with a score, or {score, feedback, passed}"
        ),
    ]
    timeout_s: Annotated[float | None, Range(0.001, 86_400), Doc("of one call")] = None


def _build(given: HostMetric, path: str, building: Building) -> Metric:
    functions = building.functions
    functions.require(given.function, f"{path}.function")

    async def ask(row: Row) -> Score:
        return score_of(await functions.acall(given.function, _arguments(row), given.timeout_s))

    return Asking("host", ask, asks_models=False)


def _arguments(row: Row) -> dict[str, object]:
    prediction: Any = dict(row.prediction.items())
    told = {"example": to_wire(dict(row.example.items())), "prediction": to_wire(prediction)}
    return told if row.predictor is None else {**told, "predictor": row.predictor}


HOST: Final = MetricClass(
    name="host",
    doc=(HostMetric.__doc__ or "").partition("\n")[0],
    options=HostMetric,
    build=_build,
    kind="dspex",
    asks="host",
)
