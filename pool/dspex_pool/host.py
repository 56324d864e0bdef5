"""What the host offers to programs: language models, secrets, functions."""

from __future__ import annotations

from dataclasses import asdict

from dspex_protocol import Hello, LMConfig, invalid_argument


class Host:
    """The offers of all clients together, as workers are told them.

    Args:
        default_lm: Model for the name `default` when no client names one; may be empty.
    """

    def __init__(self, default_lm: str) -> None:
        self._lms: dict[str, LMConfig] = {}
        if default_lm:
            self._lms["default"] = LMConfig(model=default_lm)
        self._from_settings = frozenset(self._lms)
        self._secrets: dict[str, str] = {}
        self._functions: set[str] = set()

    def __repr__(self) -> str:
        return f"<Host lms={sorted(self._lms)} functions={sorted(self._functions)}>"

    def accept(self, hello: Hello) -> bool:
        """Add what a client offers.

        Returns:
            Whether anything is new, so that workers must be told.

        Raises:
            CallerError: `invalid_argument` when the name of an LM is taken by another.
        """
        for name, lm in hello.lms.items():
            known = self._lms.get(name)
            if known is not None and known != lm and name not in self._from_settings:
                raise invalid_argument(
                    f"lms.{name}", f"the model that another client has configured ({known.model})", lm.model
                )
        before = (dict(self._lms), dict(self._secrets), set(self._functions))
        self._lms |= hello.lms
        self._secrets |= hello.secrets
        self._functions |= set(hello.functions)
        return before != (self._lms, self._secrets, self._functions)

    def offer(self) -> dict[str, object]:
        """The `lms`, `secrets` and `functions` of `system.hello` to a worker."""
        return {
            "lms": {name: asdict(lm) for name, lm in self._lms.items()},
            "secrets": dict(self._secrets),
            "functions": sorted(self._functions),
        }
