"""A question about a picture: its bytes go with the call, and the trace tells what the model was given."""

from __future__ import annotations

import asyncio
import base64
import os

from dspex_pool import media
from dspex_pool.client import Client
from dspex_protocol import DSPexError

# A red square of eight by eight; media.image(Path("photo.jpg")) reads a file of yours.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mO4oKCAFTEMLQkAvk5EAYUHFA8AAAAASUVORK5CYII="
)
SPEC = {"module": "Predict", "signature": "photo: image, question -> answer, colours: list[str]"}


async def main() -> None:
    """Ask about the picture, look at the trace, and ask about what is none."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    async with Client.start(lms=lms) as client:
        inputs = {"photo": media.image(PNG), "question": "What is to be seen?"}
        prediction = await client.prediction(SPEC, inputs, trace=True)
        for name, value in prediction.fields.items():
            print(f"{name}: {value!r}")
        for step in prediction.trace:
            print(f"{step['predictor']} was given {', '.join(step['inputs'])}")
        try:
            await client.predict(SPEC, {**inputs, "photo": media.image(b"%PDF-1.7")})
        except DSPexError as refused:
            print(refused.message)


if __name__ == "__main__":
    asyncio.run(main())
