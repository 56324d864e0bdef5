"""The predictions that are made for nobody do nobody harm."""

from __future__ import annotations

import asyncio

import dspy
import pytest

from dspex_bridge.worker import preload, warm_up


async def test_they_succeed_and_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """As far as they are wanted: a prediction of each kind was made."""
    await warm_up.predict_all()
    assert ("", "") == capfd.readouterr()


def test_what_goes_wrong_in_the_zygote_is_told_and_passed_over(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Workers start slower without it; without a zygote they would not start at all."""
    monkeypatch.setattr(warm_up, "MODULES", ("Telepathy",))
    preload.run()
    assert "could not warm up" in capfd.readouterr().err
    assert dspy.settings.lm is None
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
