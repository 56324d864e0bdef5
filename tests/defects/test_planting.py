"""A defect that cannot be planted is seen, instead of passing for one that was not found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.servers import serving

from dspex_protocol import DSPexError

from .planting import planted


@pytest.mark.slow
async def test_a_defect_that_does_not_apply_ends_the_server(tmp_path: Path) -> None:
    """As after a change of the code that it wants to break."""
    environment = planted(tmp_path, "serve", "import dspex_pool.no_such_module")
    with pytest.raises(DSPexError, match="connection_lost"):
        async with serving(environment=environment):
            pass
