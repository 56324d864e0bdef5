"""What the host offers to programs: language models, secrets, functions."""

from __future__ import annotations

from dataclasses import fields
from typing import cast

from dspex_protocol import DSPexError, Hello, LMConfig, encode_value, invalid_argument


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
            CallerError: `invalid_argument` when the name of an LM is taken by another, or when
                its options are no plain values. Nothing has changed then.
        """
        for name, lm in hello.lms.items():
            known = self._lms.get(name)
            if known is not None and known != lm and name not in self._from_settings:
                raise invalid_argument(
                    f"lms.{name}", f"the model that another client has configured ({known.model})", lm.model
                )
            _check_plain(f"lms.{name}.options", lm.options)
        before = (self._lms, self._secrets, self._functions)
        after = (self._lms | hello.lms, self._secrets | hello.secrets, self._functions | set(hello.functions))
        self._lms, self._secrets, self._functions = after
        return before != after

    def offer(self) -> dict[str, object]:
        """The `lms`, `secrets` and `functions` of `system.hello` to a worker."""
        return {
            "lms": {name: _entries(lm) for name, lm in self._lms.items()},
            "secrets": dict(self._secrets),
            "functions": sorted(self._functions),
        }


def _entries(lm: LMConfig) -> dict[str, object]:
    # Not asdict: it copies all the way down, and takes values apart that are dataclasses.
    return {entry.name: getattr(lm, entry.name) for entry in fields(lm)}


def _check_plain(field: str, value: object) -> None:
    """Providers take JSON: what has no form there would fail in each call instead of here."""
    match value:
        case dict():
            for key, member in cast("dict[object, object]", value).items():
                if not isinstance(key, str):
                    raise invalid_argument(field, "a map with text keys", key)
                _check_plain(f"{field}.{key}", member)
        case list():
            for at, member in enumerate(cast("list[object]", value)):
                _check_plain(f"{field}[{at}]", member)
        case None | bool() | int() | float() | str():
            _check_encodable(field, value)
        case _:
            raise invalid_argument(field, "a plain value, as in JSON", value)


def _check_encodable(field: str, value: object) -> None:
    try:
        encode_value(value)
    except DSPexError as refusal:
        raise invalid_argument(field, "a value with a form on the wire", value) from refusal
