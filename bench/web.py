"""The same program behind FastAPI and uvicorn, as a team without DSPex would build it.

uvicorn bench.web:app --workers 2
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import dspy
from fastapi import FastAPI
from pydantic import BaseModel

from dspex_bridge.lms import LanguageModels
from dspex_protocol import LMConfig

from .plain import SIGNATURE, no_host

state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Make the model and the program once for each worker."""
    models = LanguageModels(no_host, asyncio.get_running_loop())
    models.configure({"default": LMConfig(model="sim/bench")}, {}, [])
    state["lm"] = models.get(None)
    state["predict"] = dspy.Predict(SIGNATURE)
    yield


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    """The request."""

    question: str


class Answer(BaseModel):
    """The response."""

    answer: str


@app.post("/predict")
async def predict(question: Question) -> Answer:
    """One prediction."""
    with dspy.context(lm=state["lm"], disable_history=True, trace=None):
        prediction = await state["predict"].acall(question=question.question)
    return Answer(answer=prediction.answer)
