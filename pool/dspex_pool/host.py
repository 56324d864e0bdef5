"""What the host offers to programs: language models, secrets, functions."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, cast

from dspex_protocol import DSPexError, Hello, LMConfig, encode_value, invalid_argument

if TYPE_CHECKING:
    from .calls import Caller


class Host:
    """The offers of all clients together, as workers are told them.

    An offer belongs to the client that made it and goes with it; what several clients offer
    stays until the last of them has gone.

    Args:
        default_lm: Model for the name `default` when no client names one; may be empty.
    """

    def __init__(self, default_lm: str) -> None:
        self._from_settings = {"default": LMConfig(model=default_lm)} if default_lm else {}
        self._offers: dict[object, Hello] = {}
        self._lms: dict[str, LMConfig] = {}
        self._secrets: dict[str, str] = {}
        self._functions: set[str] = set()
        self._add_up()

    def __repr__(self) -> str:
        return f"<Host lms={sorted(self._lms)} functions={sorted(self._functions)}>"

    def accept(self, owner: object, hello: Hello) -> bool:
        """Add what a client offers.

        Args:
            owner: The client; what `withdraw` is called with.
            hello: What it said.

        Returns:
            Whether anything is new, so that workers must be told.

        Raises:
            CallerError: `invalid_argument` when the name of an LM or a secret is taken by
                another client's, or when an LM's options are no plain values. Nothing has
                changed then.
        """
        self._check_models(hello)
        for name, secret in hello.secrets.items():
            if self._secrets.get(name, secret) != secret:
                expected = "the value that another client has given (or another name)"
                raise invalid_argument(f"secrets.{name}", expected, "another value")
        self._offers[owner] = hello
        return self._add_up()

    def withdraw(self, owner: object) -> bool:
        """Forget what a client offered, which has gone.

        Returns:
            Whether anything is missing now, so that workers must be told.
        """
        return self._offers.pop(owner, None) is not None and self._add_up()

    def offer(self) -> dict[str, object]:
        """The `lms`, `secrets` and `functions` of `system.hello` to a worker."""
        return {
            "lms": {name: _entries(lm) for name, lm in self._lms.items()},
            "secrets": dict(self._secrets),
            "functions": sorted(self._functions),
        }

    def owners(self, lm: str) -> tuple[bool, list[object]]:
        """Who offers a language model: whether the settings do, and which clients."""
        clients = [owner for owner, hello in self._offers.items() if lm in hello.lms]
        return lm in self._from_settings and not clients, clients

    def one_with(self, function: str) -> Caller | None:
        """A client that offers a function, one that reads where there is one; None where none does."""
        offering = [owner for owner, hello in self._offers.items() if function in hello.functions]
        callers = cast("list[Caller]", offering)
        return next((one for one in callers if not one.is_clogged), callers[0] if callers else None)

    def _check_models(self, hello: Hello) -> None:
        for name, lm in hello.lms.items():
            for other in self._offers.values():
                known = other.lms.get(name)
                if known is not None and known != lm:
                    raise invalid_argument(
                        f"lms.{name}",
                        f"the model that another client has configured ({known.model})",
                        lm.model,
                    )
            _check_plain(f"lms.{name}.options", lm.options)

    def _add_up(self) -> bool:
        """Put the offers together; whether they come to something else than before."""
        before = (self._lms, self._secrets, self._functions)
        self._lms, self._secrets, self._functions = dict(self._from_settings), {}, set()
        for hello in self._offers.values():
            self._lms |= hello.lms
            self._secrets |= hello.secrets
            self._functions.update(hello.functions)
        return before != (self._lms, self._secrets, self._functions)


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
