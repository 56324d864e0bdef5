"""The same program behind FastAPI and uvicorn, as a team without DSPex would build it.

BENCH_LM=dspy uvicorn bench.web:app --workers 2
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import dspy
from fastapi import FastAPI
from pydantic import BaseModel

from .plain import SIGNATURE, instant_lm

state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Make the model and the program once for each worker."""
    state["lm"] = instant_lm(os.environ["BENCH_LM"])
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
