"""Predictions that are made for nobody, so that no caller's prediction is a worker's first one.

What is slow about a first prediction is what Python, pydantic and DSPy do once in a process
and keep, such as regular expressions and schemas; and that a fork touches pages which it
shares with the zygote, each of which is copied then. Against the first the zygote makes one
prediction of each common kind before it forks, for all workers at once. Against the second a
worker that is to replace another makes them again, while the other one still serves.

They go no further than the offline model, and leave nothing behind: no thread is started,
DSPy's settings hold in a context only, programs and language models are dropped.

Measured in 30 forks each, DSPy 3.4.1, two runs, medians in ms:

| in a fork                                            | imports only | and the zygote's |
|------------------------------------------------------|--------------|------------------|
| hello                                                | 5.1          | 4.1              |
| loading a stored program                             | 0.65         | 0.4              |
| first prediction, Predict with two inputs            | 9.5 to 9.8   | 8.1 to 8.5       |
| first prediction, ChainOfThought with two inputs     | 10.5 to 12.5 | 9.1 to 9.8       |

It takes the zygote 8 to 16 ms. What is left of a first prediction is mostly the 1,100 pages
that building its program copies: 6 ms against 2 for a second one.
"""

from __future__ import annotations

from typing import Final

import dspy

from dspex_protocol import LMConfig, encode_value

from ..adapters.adapters import ADAPTERS, DEFAULT
from ..host_functions import HostFunctions
from ..lms.lms import LanguageModels
from ..lms.usage import counting
from ..programs.builder import Builder
from ..programs.live import LiveProgram
from ..programs.programs import StoredProgram
from ..programs.records import Spec
from ..signatures.signatures import check_inputs, check_outputs
from ..values.outgoing import to_wire

MODULES: Final = ("Predict", "ChainOfThought")
INPUTS: Final = {"question": "Does it work?"}


async def predict_all() -> None:
    """Make one prediction of each common kind."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"default": LMConfig(model="sim/warm-up")}, {})
    builder = Builder()
    for module in MODULES:
        built = builder.build(Spec(module=module, signature="question -> answer"))
        await _predict(StoredProgram(builder, built.record()).live(), lms.get(None))


async def _predict(program: LiveProgram, lm: dspy.LM) -> None:
    """As `program.predict` does it."""
    inputs = check_inputs(program.signature, dict(INPUTS))
    with (
        counting(),
        dspy.context(lm=lm, adapter=ADAPTERS[DEFAULT], disable_history=True, trace=None),
    ):
        prediction = await program.module.acall(**inputs)
    check_outputs(program.signature, dict(prediction.items()))
    encode_value(to_wire(prediction))
