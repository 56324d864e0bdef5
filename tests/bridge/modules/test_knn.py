"""KNN as a module of a worker: its description, and what becomes of it without numpy."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.records import Spec
from dspex_protocol import DSPexError
from dspex_protocol.handshake import LMConfig

SPEC = Spec(
    module="KNN",
    signature="question -> answer",
    options={"k": 1, "trainset": [{"question": "a", "answer": "b"}], "vectorizer": "vectors"},
)


def test_it_is_described_with_its_options() -> None:
    """As every module is."""
    row: Any = next(row for row in Catalog().describe() if row["name"] == "KNN")
    assert row["available"]
    assert row["async"]
    assert ["k", "trainset", "vectorizer"] == list(row["options"])
    assert all(option["required"] for option in row["options"].values())


def test_its_record_keeps_the_signature_of_the_examples() -> None:
    """While calls give and get its own: built again from its record it is the same."""
    program = Builder().build(SPEC)
    assert ["examples"] == list(program.signature.output_fields)
    spec: Any = program.record()["spec"]
    assert ["answer"] == [field["name"] for field in spec["signature"]["outputs"]]
    assert spec == Builder().build(Spec(**spec)).record()["spec"]


async def test_without_numpy_it_says_so_before_it_asks_for_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating it is no error: programs move between machines."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"vectors": LMConfig(model="sim/vectors", model_type="embedding")}, {})
    module = Builder(lms=lms).build(SPEC).module
    monkeypatch.setitem(sys.modules, "numpy", None)
    with counting() as usage, pytest.raises(DSPexError, match=r"KNN needs numpy.*dspex\[numpy\]") as refused:
        await module.acall(question="?")
    assert "program_failed" == refused.value.code
    assert 0 == usage.lm_calls
    monkeypatch.undo()
    assert [{"question": "a", "answer": "b"}] == (await module.acall(question="?")).examples
