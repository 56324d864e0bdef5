"""`python -m dspex_bridge zygote | worker | sim-lm | code`: the processes that the pool starts."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Run one of the bridge's processes.

    Returns:
        An exit code; 2 when the arguments name none of them.
    """
    _use_the_prices_that_came_with_dspy()
    match arguments:
        case ["zygote", parent_pid]:
            from .worker.zygote import run_zygote

            run_zygote(int(parent_pid))
        case ["worker", parent_pid]:
            from .worker.zygote import adopt

            adopt(int(parent_pid))
            from .worker.wire import take_wire

            wire = take_wire(0)
            from .worker.serve import serve

            serve(wire)
        case ["sim-lm", *options]:
            from .sim.server import run_server

            return run_server(options)
        case ["code", *options]:
            from .code.preparing import run_code

            return run_code(options)
        case _:
            usage = "usage: python -m dspex_bridge zygote PARENT_PID | worker PARENT_PID | sim-lm … | code …"
            print(usage, file=sys.stderr)
            return 2
    return 0


def _use_the_prices_that_came_with_dspy() -> None:
    """DSPy and LiteLLM fetch a newer list of models from GitHub when they first look one up.

    Each worker would, while its event loop waits, and on a network without a way out for 5 s.
    """
    if "LITELLM_MODEL_COST_MAP_URL" not in os.environ:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
