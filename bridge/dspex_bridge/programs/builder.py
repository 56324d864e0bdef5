"""Specs and records to live programs, and live programs to records.

What a spec alone decides is built once, as a template: the signature class and the module as its
constructor leaves it. A program is a copy of the template with a state in it, so another version
of a program costs a copy and its state, and nothing of pydantic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from dspex_protocol import DSPexError, decode_value, encode_value, error

from ..adapters.choices import Retry
from ..adapters.classes import read_adapter
from ..host_functions import HostFunctions
from ..lms.lms import LanguageModels
from ..modules.catalog import Catalog
from ..modules.composing import Composed, compose, names_program, read_part
from ..modules.options import Part
from ..refusals import refusal
from ..signatures.signatures import build_signature, normalize
from .carrying import carried_over
from .documents import read_document
from .live import LiveProgram, Template, part_of, template_of
from .records import DSPY_VERSION, Record, Spec, StoredPart
from .state import copy_module, load_state, named_learners, patched, read_patches


class Builder:
    """Builds programs.

    Args:
        catalog: The modules that there are.
        functions: Those of the host.
        lms: The language models that modules ask by name for vectors.
    """

    MAX_TEMPLATES: Final = 256
    """A Predict with its signature class is about 50 kB. The least recently used goes first."""

    def __init__(
        self,
        catalog: Catalog | None = None,
        functions: HostFunctions | None = None,
        lms: LanguageModels | None = None,
    ) -> None:
        self.catalog = Catalog() if catalog is None else catalog
        self.functions = HostFunctions() if functions is None else functions
        self.lms = LanguageModels(self.functions) if lms is None else lms
        self._templates: OrderedDict[bytes, Template] = OrderedDict()

    def template(self, spec: Spec, path: str = "spec") -> Template:
        """What a spec describes; the same object while it is remembered.

        Raises:
            CallerError: `invalid_argument` naming the field of the spec.
        """
        choices = _choices(spec, path)
        key = encode_value([spec.module, spec.signature, spec.options, choices])
        known = self._templates.get(key)
        if known is not None:
            self._templates.move_to_end(key)
            return known
        signature = None if spec.signature is None else normalize(spec.signature, f"{path}.signature")
        normal_key = encode_value([spec.module, signature, spec.options, choices])
        template = self._templates.get(normal_key)
        if template is None:
            template = self._build(spec, signature, path, choices)
        for one in {key, normal_key}:
            self._templates[one] = template
        while len(self._templates) > self.MAX_TEMPLATES:
            self._templates.popitem(last=False)
        return template

    def _build(
        self, spec: Spec, signature: dict[str, object] | None, path: str, choices: dict[str, object]
    ) -> Template:
        module_class = self.catalog.find(spec.module, path)
        own = None if signature is None else build_signature(signature, f"{path}.signature")
        built = self.catalog.build(spec.module, own, spec.options, self, path)
        return template_of(spec.module, signature, module_class, built, choices)

    def part(self, spec: object, path: str) -> Part:
        """A module that is part of another.

        Raises:
            CallerError: naming the part of the spec.
        """
        if names_program(spec):
            expected = "a spec: stored programs are parts of programs that are stored, by program.create"
            raise refusal(f"{path}.program", expected, "a stored program")
        wanted = read_part(spec, path)
        template = self.template(wanted, path)
        return part_of(template, copy_module(template.module), wanted.origin)

    def load(self, record: Record) -> LiveProgram:
        """The program of a record.

        Raises:
            CallerError: `invalid_argument` when the record describes nothing that can be built;
                it names both versions of DSPy where another one wrote it.
        """
        try:
            template = self.template(record.spec, "record.spec")
            loaded = load_state(template.module, record.state, "record.state")
        except DSPexError as refused:
            if record.dspy == DSPY_VERSION:
                raise
            raise _of_another_dspy(refused, record.dspy) from None
        return LiveProgram(template, loaded.module, loaded.lms)

    def build(self, spec: Spec, state: object = None, stored: Sequence[StoredPart] = ()) -> LiveProgram:
        """A new program.

        Args:
            spec: What it is.
            state: A patch of what its module is built with, or None.
            stored: Programs that the spec names as parts.

        Raises:
            CallerError: `invalid_argument` naming the part of the spec or of the state.
        """
        composed = self._composed(spec, stored)
        template = self.template(composed.spec)
        return self._patched(template, composed.state or template.program.state, state)

    def undump(self, document: str, spec: Spec, stored: Sequence[StoredPart] = ()) -> LiveProgram:
        """The program that a document of DSPy's describes.

        Demos are not checked against the signature's types: DSPy takes any, and what it wrote
        may be the text of something else.

        Raises:
            CallerError: `invalid_argument` naming the part of the document or of the spec.
        """
        template = self.template(self._composed(spec, stored).spec)
        return _stored(template, read_document(document, template.program), "document")

    def revise(
        self,
        program: LiveProgram,
        spec: Spec | None,
        state: object = None,
        stored: Sequence[StoredPart] = (),
    ) -> LiveProgram:
        """The next version of a program.

        Args:
            program: The version before; it stays as it is.
            spec: Another one, or None.
            state: A patch of what it has learned, or None.
            stored: Programs that the spec names as parts; they bring what they have learned.

        Raises:
            CallerError: `invalid_argument` naming the part of the spec or of the state; with
                another spec also a predictor whose state does not fit.
        """
        if spec is None:
            return self._patched(program.template, program.state, state)
        composed = self._composed(spec, stored)
        template = self.template(composed.spec)
        before = program.state
        if template is not program.template or composed.learned:
            before = carried_over(program, template.program, state, composed)
        return self._patched(template, before, state)

    def _composed(self, spec: Spec, stored: Sequence[StoredPart]) -> Composed:
        return (
            compose(self, spec, stored, _choices(spec, "spec")) if stored else Composed(spec, {}, frozenset())
        )

    def _patched(self, template: Template, state: dict[str, object], patch: object) -> LiveProgram:
        predictors = dict(named_learners(template.module))
        patches = {} if patch is None else read_patches(patch, predictors, "state")
        after: dict[str, Any] = dict(state)
        for name, part in patches.items():
            after[name] = patched(after[name], part, predictors[name], template.signature, f"state.{name}")
        return _stored(template, after, "state")


def _choices(spec: Spec, path: str) -> dict[str, object]:
    """What a spec chooses beside its module, as it is stored; nothing where it chooses nothing."""
    chosen: dict[str, object] = {}
    adapter = read_adapter(spec.adapter, f"{path}.adapter")
    if adapter is not None:
        chosen["adapter"] = {"name": adapter.name, "options": adapter.options}
    if isinstance(spec.on_violation, Retry):
        chosen["on_violation"] = {"retry": spec.on_violation.retry}
    return chosen


def _stored(template: Template, state: dict[str, object], path: str) -> LiveProgram:
    """A program as it will be when its record is read, limits of the wire included."""
    loaded = load_state(template.module, decode_value(encode_value(state)), path)
    return LiveProgram(template, loaded.module, loaded.lms)


def _of_another_dspy(refused: DSPexError, theirs: str) -> DSPexError:
    return error(
        refused.code,
        f"{refused.message} (DSPy {theirs} wrote this record, and here is DSPy {DSPY_VERSION})",
        details={**refused.details, "dspy": {"record": theirs, "here": DSPY_VERSION}},
    )
