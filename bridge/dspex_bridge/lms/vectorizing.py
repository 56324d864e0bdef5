"""Asking for vectors: checked, and counted as what a call spent."""

from __future__ import annotations

from collections.abc import Mapping

from dspex_protocol import Tensor, error

from .accounts import Account
from .embedding import VectorSource, tensor_of
from .usage import RequestTimer, Usage


async def vectorize(
    source: VectorSource, account: Account, texts: list[str], config: Mapping[str, object], usage: Usage
) -> Tensor:
    """Vectors of texts, a row of 32-bit floats for each.

    Args:
        source: Who makes them.
        account: To whom they are put down.
        texts: In order.
        config: Of the request.
        usage: Where it is counted, well or badly.

    Raises:
        DSPexError: `lm_error` for another number of them, or for several lengths.
    """
    timer = RequestTimer(account, usage)
    try:
        made = await source.embed(texts, config)
    finally:
        timer.stop()
    usage.add_tokens(made.tokens_in, 0, account)
    if len(made.rows) != len(texts):
        raise error("lm_error", f"{account.model} gave {len(made.rows)} vectors for {len(texts)} texts")
    try:
        return tensor_of(made.rows)
    except ValueError:
        raise error("lm_error", f"{account.model} gave vectors of several lengths") from None
