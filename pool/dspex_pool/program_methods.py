"""The methods about stored programs: what each does with the library, and with a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar, cast

from dspex_protocol import (
    DSPexError,
    Meta,
    decode_value,
    encode_value,
    invalid_argument,
)
from dspex_protocol.records import read

from .composition import pinned, records_of, stored_parts, unknown_part
from .handling import Handling, Lines
from .library import answers
from .library.documents import Document, read_document
from .library.heavy import Apart, worked_out
from .library.library import Library
from .library.names import Reference
from .library.pages import Wanted
from .library.records import Lineage, Version, read_facts
from .library.refusals import contended
from .library.shelf import Held
from .library.writes import Write, in_order
from .own_method import Nothing
from .ports import Stored
from .stored_operations import (
    Create,
    Diff,
    Export,
    Import,
    ListPrograms,
    ListVersions,
    Rollback,
    Tagging,
    Update,
)

if TYPE_CHECKING:
    from .calls import Call

T = TypeVar("T")
Handler = Callable[["Call"], Coroutine[Any, Any, object]]

TRIES: Final = 5
"""An update that named no version is made again on whatever has become the newest meanwhile."""


class AskWorker(Protocol):
    """Has a worker do something for a call; `stored_calls.StoredCalls.ask_worker` is it."""

    def __call__(
        self, outer: Call, method: str, payload: bytes, record: Held | None = None, meta: Meta | None = None
    ) -> Awaitable[bytes]:
        """See there."""
        ...


class ProgramMethods:
    """Answers calls about programs.

    Args:
        library: Where they are.
        handling: What these calls run in.
        stored: New ids, and where what computes for long is done.
        ask: Has a worker check a spec.
        forget: Has the workers forget a program.
    """

    def __init__(
        self,
        library: Library,
        handling: Handling,
        stored: Stored,
        ask: AskWorker,
        *,
        forget: Callable[[str], None],
    ) -> None:
        self._library = library
        self._ask = ask
        self._forget = forget
        self._new_id = stored.new_id
        self._apart = stored.tasks.apart
        self._updates = Lines(stored.tasks, handling)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "program.create": self._create,
            "program.update": self._update,
            "program.get": self._get,
            "program.list": self._list,
            "program.delete": self._delete,
            "program.versions": self._versions,
            "program.diff": self._diff,
            "program.rollback": self._rollback,
            "program.tag": self._tag,
            "program.untag": self._untag,
            "program.export": self._export,
            "program.import": self._import,
        }

    # What is written

    async def _create(self, call: Call) -> object:
        wish = parameters(Create, call)
        wanted, write = None if call.wanted is None else call.wanted.program, write_of(call)
        try:
            spec = await self._with_stored({"spec": wish.spec, "state": wish.state})
        except DSPexError as refusal:
            # Made before, it has copies of programs that may be gone since.
            return await self._made_before(refusal, write, "create", wanted)
        content = await self._ask(call, "program.build", encode_value(spec))
        call.begin_effects()
        program, version = await self._library.create(
            wanted,
            content,
            lineage=Lineage(by="create", note=wish.note),
            tags=wish.tags,
            write=write,
        )
        return {"program": program, "version": version}

    async def _with_stored(self, wish: Mapping[str, object]) -> dict[str, object]:
        """What a worker is asked to build, with the stored programs that its spec names as parts."""
        asked = {key: value for key, value in wish.items() if value is not None}
        if "spec" not in asked:
            return asked
        spec = cast("dict[str, object]", asked["spec"])
        named = stored_parts(spec)
        held: dict[str, Held] = {}
        for path, reference in named.items():
            try:
                held[path] = await self._base_of(reference)
            except DSPexError as refusal:
                raise unknown_part(path, reference, refusal) from None
        return {**asked, "spec": pinned(spec, held), "stored": records_of(held)} if held else asked

    async def _made_before(
        self, refusal: DSPexError, write: Write | None, operation: str, program: str | None
    ) -> object:
        """The answer of a write that was made already, where it cannot be made any more."""
        if refusal.code != "unknown_program" or write is None:
            raise refusal
        made = await self._library.answer_of(write, operation, program)
        if made is None or made[0] is None:
            raise refusal
        program, version = made[0]
        return {"program": program, "version": version}

    async def _update(self, call: Call) -> object:
        wanted = _program_of(call)
        try:
            return await self._make_next(call, wanted)
        except DSPexError as refusal:
            # Made before, it is made from a version that may be gone since.
            return await self._made_before(refusal, write_of(call), "add", wanted.program)

    async def _make_next(self, call: Call, wanted: Reference) -> object:
        wish = parameters(Update, call)
        patch = encode_value(await self._with_stored({"spec": wish.spec, "state": wish.state}))
        if wanted.version is not None:
            return await self._add(call, wish, patch, await self._base_of(wanted))
        # Whoever named no version wants the change, whatever it is made to. Here those go one after
        # another, so only another server can come in between.
        async with self._updates.turn(wanted.program):
            for _ in range(TRIES):
                try:
                    return await self._add(call, wish, patch, await self._base_of(wanted))
                except DSPexError as refusal:
                    if refusal.code != "version_conflict":
                        raise
        raise contended()

    async def _base_of(self, wanted: Reference) -> Held:
        return self._library.find(wanted) or await self._library.fetch(wanted)

    async def _add(self, call: Call, wish: Update, patch: bytes, base: Held) -> object:
        content = await self._ask(call, "program.revise", patch, base)
        call.begin_effects()
        program, version = await self._library.add(
            base[0],
            base=base[1],
            must_be_newest=True,
            content=content,
            lineage=Lineage(by="update", note=wish.note),
            tags=wish.tags,
            write=write_of(call),
        )
        return {"program": program, "version": version}

    async def _delete(self, call: Call) -> object:
        parameters(Nothing, call)
        program = _program_of(call).program
        call.begin_effects()
        await self._library.delete(program, write=write_of(call))
        self._forget(program)
        return None

    async def _rollback(self, call: Call) -> object:
        wish = parameters(Rollback, call)
        wanted = _program_of(call)
        call.begin_effects()
        program, version = await self._library.rollback(
            wanted.program, _version_of(wanted), newest=wish.newest, note=wish.note, write=write_of(call)
        )
        return {"program": program, "version": version}

    async def _tag(self, call: Call) -> object:
        wish = parameters(Tagging, call)
        wanted = _program_of(call)
        call.begin_effects()
        await self._library.tag(wanted.program, _version_of(wanted), wish.tag, write=write_of(call))
        return None

    async def _untag(self, call: Call) -> object:
        wish = parameters(Tagging, call)
        call.begin_effects()
        await self._library.untag(_program_of(call).program, wish.tag, write=write_of(call))
        return None

    async def _import(self, call: Call) -> object:
        wish = parameters(Import, call)
        program = None if call.wanted is None else call.wanted.program
        if wish.format == "dspy":
            return await self._import_dspy(call, wish, program)
        document = await worked_out(self._apart, len(wish.document), lambda: read_document(wish.document))
        # A worker builds the newest version: what it cannot is refused before anything is stored.
        newest = cast("dict[str, object]", decode_value(document.versions[-1].content))
        spec = {key: newest[key] for key in ("spec", "state") if key in newest}
        await self._ask(call, "program.build", encode_value(spec))
        call.begin_effects()
        program, version = await self._library.import_(
            document, program=program, note=wish.note, write=write_of(call)
        )
        return {"program": program, "version": version}

    async def _import_dspy(self, call: Call, wish: Import, program: str | None) -> object:
        if wish.spec is None:
            raise invalid_argument("spec", "the spec of the program, since DSPy's form has none", None)
        payload = encode_value(await self._with_stored({"document": wish.document, "spec": wish.spec}))
        content = await self._ask(call, "program.undump", payload)
        call.begin_effects()
        document = document_of(program or f"program-{self._new_id()}", content)
        made, version = await self._library.import_(document, note=wish.note, write=write_of(call))
        return {"program": made, "version": version}

    # What is read

    async def _get(self, call: Call) -> object:
        parameters(Nothing, call)
        head, version = await self._library.get(_program_of(call))
        return await encoded(self._apart, len(version.content), lambda: answers.version_answer(head, version))

    async def _list(self, call: Call) -> object:
        wish = parameters(ListPrograms, call)
        wanted = Wanted(
            prefix=wish.prefix,
            tag=wish.tag,
            module=wish.module,
            sort=wish.sort,
            descending=wish.descending,
            limit=wish.limit,
            after=wish.after,
        )
        return answers.page_answer(await self._library.page(wanted))

    async def _versions(self, call: Call) -> object:
        wish = parameters(ListVersions, call)
        program = _program_of(call).program
        return answers.history_answer(
            await self._library.versions(program, limit=wish.limit, before=wish.before)
        )

    async def _diff(self, call: Call) -> object:
        wish = parameters(Diff, call)
        program = _program_of(call).program
        changes = answers.changes_answer(await self._library.diff(program, wish.old, wish.new))
        return {"program": program, "old": wish.old, "new": wish.new, "changes": changes}

    async def _export(self, call: Call) -> object:
        wish = parameters(Export, call)
        wanted = _program_of(call)
        if wish.format == "dspex":
            return {"document": await self._library.export(wanted, all_versions=wish.versions == "all")}
        if wish.versions == "all":
            raise invalid_argument("versions", "one: DSPy's form has no history", "all")
        return decode_value(
            await self._ask(call, "program.dump", encode_value(None), await self._base_of(wanted))
        )


class Encoded(NamedTuple):
    """A result that is encoded already."""

    payload: bytes


async def encoded(apart: Apart, size_bytes: int, answer: Callable[[], object]) -> Encoded:
    """A result that is as long as what it is made from."""
    return Encoded(await worked_out(apart, size_bytes, lambda: encode_value(answer())))


def parameters(record: type[T], call: Call) -> T:
    """A call's payload, checked.

    Raises:
        DSPexError: for what is no such record.
    """
    value = decode_value(call.payload)
    return read(record, {} if value is None else value)


def write_of(call: Call) -> Write | None:
    """What the client calls this write, and what it depends on."""
    write_id = call.meta.get("write_id")
    if write_id is None:
        return None
    named = [call.method, *(call.meta.get(key) for key in ("program", "version", "tag", "session"))]
    depends_on = encode_value([*named, in_order(decode_value(call.payload))])
    return Write(str(write_id), hashlib.sha256(depends_on).digest())


def document_of(program: str, content: bytes) -> Document:
    """A worker's record, as if it had been exported."""
    facts = read_facts(content)
    only = Version(
        program=program,
        version=1,
        content=content,
        lineage=Lineage(by="import"),
        created_ms=0,
        dspy=facts.dspy,
        schema=facts.schema,
    )
    return Document(program=program, versions=[only], tags={})


def _program_of(call: Call) -> Reference:
    if call.wanted is None:
        raise invalid_argument("meta.program", "the id of a program", None)
    return call.wanted


def _version_of(wanted: Reference) -> int:
    if wanted.version is None:
        raise invalid_argument("meta.version", "the number of a version", None)
    return wanted.version
