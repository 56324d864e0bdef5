"""THE WRITER: a program that asks a language model for rows of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import dspy
import pydantic

INSTRUCTIONS: Final = """\
Write rows of a dataset for a program that does the task. Each row has every field: the inputs as they
would come in practice, and the outputs as they ought to be for exactly those inputs. Write as many rows
as `count` says, each about something else than the others and than the rows in `known`."""


class Writer(dspy.Module):
    """Asks for rows that a signature describes.

    Args:
        signature: Of the program that the rows are for.
    """

    def __init__(self, signature: type[dspy.Signature]) -> None:
        super().__init__()
        row: Any = _row_class(signature)
        fields: dict[str, Any] = {
            "task": (str, dspy.InputField(desc="what the program does")),
            "inputs": (str, dspy.InputField(desc="the fields that it is given")),
            "outputs": (str, dspy.InputField(desc="the fields that it answers with")),
            "known": (list[dict[str, Any]], dspy.InputField(desc="rows that there are already")),
            "angle": (str, dspy.InputField(desc="what the rows are to be like this time")),
            "count": (int, dspy.InputField()),
            "rows": (list[row], dspy.OutputField(desc="the new rows")),
        }
        self.write = dspy.Predict(dspy.make_signature(fields, INSTRUCTIONS, "WriteRows"))
        self._inputs = _told(signature.input_fields)
        self._outputs = _told(signature.output_fields)

    def asked(
        self, task: str, known: Sequence[Mapping[str, object]], angle: str, count: int
    ) -> dict[str, Any]:
        """The inputs of one request."""
        return {
            "task": task,
            "inputs": self._inputs,
            "outputs": self._outputs,
            "known": [dict(row) for row in known],
            "angle": angle,
            "count": count,
        }

    async def aforward(self, **inputs: Any) -> list[object]:
        """Ask; the rows of the answer, as they are.

        Raises:
            AdapterParseError: when there are none.
        """
        prediction: Any = await self.write.acall(**inputs)
        return [row.root for row in prediction.rows]


def _row_class(signature: type[dspy.Signature]) -> type[pydantic.BaseModel]:
    """What the model is told of a row. Any map is one: rows are checked one by one, and not an answer."""
    fields: dict[str, Any] = {
        name: (
            Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation,
            pydantic.Field(description=_desc(name, field)),
        )
        for name, field in signature.fields.items()
    }
    schema: dict[str, Any] = pydantic.create_model("Row", **fields).model_json_schema()

    class Row(pydantic.RootModel[Any]):
        """A row."""

        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
            return schema

    return Row


def _told(fields: Mapping[str, Any]) -> str:
    lines = []
    for name, field in fields.items():
        limits = (field.json_schema_extra or {}).get("constraints")
        words = [_desc(name, field), limits and f"({limits})"]
        lines.append(f"{name}: {' '.join(filter(None, words))}".rstrip(": "))
    return "\n".join(lines)


def _desc(name: str, field: Any) -> str | None:
    desc = (field.json_schema_extra or {}).get("desc")
    return None if not desc or desc == f"${{{name}}}" else str(desc)
