"""Stored programs as parts of another: copied into it, with what they have learned.

Where a spec names a stored program in place of a part, the supervisor sends its record along.
The part becomes that program's own spec, with the version that it came from as its `origin`, and
what that version has learned becomes a piece of the new program's state. From then on they have
nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dspex_protocol import decode_value
from dspex_protocol.records import read

from ..programs.live import LiveProgram, Template, part_of, template_of
from ..programs.records import Origin, Spec, StoredPart, read_record
from ..programs.state import copy_module, dump_state, named_learners
from ..refusals import missing, refusal
from ..signatures.signatures import build_signature, normalize
from .options import Part

if TYPE_CHECKING:
    from ..programs.builder import Builder


CHOICES: Final = ("adapter", "on_violation")
"""What a spec says of how models are asked: of the whole program only."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What a spec with stored programs in it comes to.

    Attributes:
        spec: With their specs in their place.
        state: Of the whole, with what they have learned.
        learned: The predictors that have their state from them.
    """

    spec: Spec
    state: dict[str, object]
    learned: frozenset[str]


def names_program(spec: object) -> bool:
    """Whether what stands in a part's place is a stored program's name."""
    return isinstance(spec, dict) and "program" in spec


def read_part(spec: object, path: str) -> Spec:
    """The spec of a part.

    Raises:
        CallerError: `invalid_argument` naming what of it is wrong.
    """
    part = read(Spec, spec, path)
    for name in CHOICES:
        if getattr(part, name) is not None:
            raise refusal(f"{path}.{name}", "nothing: a part has that of the whole program", "one")
    return part


def compose(
    builder: Builder, spec: Spec, stored: Sequence[StoredPart], choices: Mapping[str, object]
) -> Composed:
    """Put stored programs into a spec.

    Args:
        builder: Builds them.
        spec: Names them by id and version.
        stored: Their records.
        choices: Of the spec, in normal form; stored programs may have the same or none.

    Raises:
        CallerError: `invalid_argument` naming the part of the spec; of a record that cannot be
            built, also what is wrong with it.
    """
    programs = {
        (one.program, one.version): builder.load(read_record(decode_value(one.record))) for one in stored
    }
    composer = _Composer(builder, programs, choices)
    template = composer.build(spec, "spec")
    predictors = dict(named_learners(template.module))
    learned = {
        name: composer.learned[id(one)] for name, one in predictors.items() if id(one) in composer.learned
    }
    if len(learned) != len(composer.learned):
        raise refusal("spec", "a module that keeps the modules it is built with", f"a {spec.module}")
    lms = {name: lm for name, lm in learned.items() if lm}
    options: Any = template.spec["options"]
    return Composed(
        replace(spec, options=options),
        dump_state(template.module, lms),
        frozenset(learned),
    )


class _Composer:
    """Builds parts anew each time, so that what stored programs have learned stays out of templates.

    Attributes:
        learned: By identity, the predictors of stored programs, with the name of their language
            model or "".
    """

    def __init__(
        self,
        builder: Builder,
        programs: Mapping[tuple[str, int], LiveProgram],
        choices: Mapping[str, object],
    ) -> None:
        self.functions = builder.functions
        self.lms = builder.lms
        self._catalog = builder.catalog
        self._programs = programs
        self._choices = choices
        self.learned: dict[int, str] = {}

    def build(self, spec: Spec, path: str) -> Template:
        """What a spec describes, its parts with all that they have learned."""
        signature = None if spec.signature is None else normalize(spec.signature, f"{path}.signature")
        own = None if signature is None else build_signature(signature, f"{path}.signature")
        built = self._catalog.build(spec.module, own, spec.options, self, path)
        return template_of(spec.module, signature, self._catalog.find(spec.module, path), built)

    def part(self, spec: object, path: str) -> Part:
        """A part, which may be a stored program."""
        if not names_program(spec):
            read_spec = read_part(spec, path)
            template = self.build(read_spec, path)
            return part_of(template, template.module, read_spec.origin)
        origin = read(Origin, spec, path)
        program = self._programs.get((origin.program, origin.version))
        if program is None:
            raise missing(f"{path}.program", f"the record of program {origin.program!r}")
        self._check_choices(program, path)
        module = copy_module(program.module)
        for name, predictor in named_learners(module):
            self.learned[id(predictor)] = program.lms.get(name, "")
        return part_of(program.template, module, origin)

    def _check_choices(self, program: LiveProgram, path: str) -> None:
        """A part is asked as the whole is; what would go on in silence in another way is refused."""
        for name in CHOICES:
            own = program.template.spec.get(name)
            if own is not None and own != self._choices.get(name):
                expected = f"a program that has no {name} of its own, or the one of the whole program"
                raise refusal(f"{path}.program", expected, "one that has another")
