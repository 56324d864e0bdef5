"""A defect planted into the processes of a real server.

The lines run first in each Python of the server, as its `sitecustomize`. Where they fail
the process ends at once: a defect that is not there would prove nothing.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Final, Literal

from tests.support.servers import SUPPORT

Process = Literal["serve", "zygote"]

_FRAME: Final = """\
import os, sys, traceback
if {process!r} in sys.orig_argv:
    try:
{lines}
    except BaseException:
        traceback.print_exc()
        os._exit(99)
"""


def planted(folder: Path, process: Process, lines: str) -> dict[str, str]:
    """The environment of a server that has the defect.

    Args:
        folder: Where the lines may be written.
        process: Which processes get it: `serve` is guardian and supervisor, `zygote` the
            zygote and all workers.
        lines: Python that plants it.
    """
    body = textwrap.indent(textwrap.dedent(lines).strip(), " " * 8)
    (folder / "sitecustomize.py").write_text(_FRAME.format(process=process, lines=body))
    path = [str(folder), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}
