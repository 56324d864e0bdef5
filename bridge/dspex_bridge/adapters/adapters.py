"""DSPy's adapters, with the part of the prompt that never changes written once.

DSPy writes the system message and the reminder of the output format anew for each call,
though they depend on the signature alone: a third of the time of a prediction. These
subclasses remember both; the messages stay the same to the letter (a test compares them).

A signature is a class and is treated as immutable, as DSPy's own `with_…` methods do; but for its
instructions, which `InferRules` writes into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import dspy

_ONLY_TEXT: Final = frozenset((str,))
_Texts = WeakKeyDictionary[type[dspy.Signature], tuple[str | None, str]]
"""Of each signature its instructions then, and what was written."""


class _Memory:
    """What one adapter has written before.

    Not a base class of the adapters: `dspy.Adapter` gives each of its subclasses wrapped
    copies of its own methods, which would hide those of the adapter behind.
    """

    __slots__ = ("_reminder", "_system")

    def __init__(self) -> None:
        self._system: _Texts = WeakKeyDictionary()
        self._reminder: _Texts = WeakKeyDictionary()

    def system(self, signature: type[dspy.Signature], write: Callable[[Any], str]) -> str:
        """The system message."""
        return _remembered(self._system, signature, write)

    def reminder(self, signature: type[dspy.Signature], write: Callable[[Any], str]) -> str:
        """What the last message says of the output's form."""
        return _remembered(self._reminder, signature, write)


class ChatAdapter(dspy.ChatAdapter):
    """`dspy.ChatAdapter` with a memory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._memory = _Memory()

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.ChatAdapter`."""
        return self._memory.system(signature, super().format_system_message)

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.ChatAdapter`."""
        return self._memory.reminder(signature, super().user_message_output_requirements)

    def format_user_message_content(
        self,
        signature: type[dspy.Signature],
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """As `dspy.ChatAdapter`.

        Plain text is put in as it is: DSPy builds a pydantic serializer for each value,
        which gives the same text 60 µs later.
        """
        if _ONLY_TEXT.issuperset(map(type, inputs.values())):
            present = (name for name in signature.input_fields if name in inputs)
            sections = [f"[[ ## {name} ## ]]\n{inputs[name]}" for name in present]
            reminder = self.user_message_output_requirements(signature) if main_request else None
            last = [suffix] if reminder is None else [reminder, suffix]
            return "\n\n".join([prefix, *sections, *last]).strip()
        written: str = super().format_user_message_content(signature, inputs, prefix, suffix, main_request)
        return written


class JSONAdapter(dspy.JSONAdapter):
    """`dspy.JSONAdapter` with a memory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._memory = _Memory()

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.JSONAdapter`."""
        return self._memory.system(signature, super().format_system_message)

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.JSONAdapter`."""
        return self._memory.reminder(signature, super().user_message_output_requirements)


class XMLAdapter(dspy.XMLAdapter):
    """`dspy.XMLAdapter` with a memory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._memory = _Memory()

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.XMLAdapter`."""
        return self._memory.system(signature, super().format_system_message)

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        """As `dspy.XMLAdapter`."""
        return self._memory.reminder(signature, super().user_message_output_requirements)


def _remembered(texts: _Texts, signature: type[dspy.Signature], write: Callable[[Any], str]) -> str:
    known = texts.get(signature)
    if known is None or known[0] != signature.__doc__:
        known = texts[signature] = signature.__doc__, write(signature)
    return known[1]


DEFAULT: Final = "chat"
"""DSPy's own default."""

ADAPTERS: Final[dict[str, dspy.Adapter]] = {"chat": ChatAdapter(), "json": JSONAdapter(), "xml": XMLAdapter()}
"""By their names on the wire. They keep nothing of a call, so all calls share them."""

REMEMBERING: Final[dict[type[Any], type[Any]]] = {
    dspy.ChatAdapter: ChatAdapter,
    dspy.JSONAdapter: JSONAdapter,
    dspy.XMLAdapter: XMLAdapter,
}
"""Ours in the place of DSPy's; the others are used as they are."""
