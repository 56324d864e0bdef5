"""Records, checkpoints, states and documents that would like to be code, or to look around.

Run as a program it gives each to a worker in this process, while a hook of the interpreter refuses
every import, file, socket, process and piece of code, and prints what came of each as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

from dspex_bridge.programs.upgrades import SCHEMA
from dspex_bridge.worker import preload
from dspex_protocol import DSPexError, FunctionReference, Tagged

SPEC: Final[dict[str, Any]] = {
    "module": "Predict",
    "signature": "question, photo: optional[image] -> answer",
    "options": {},
}
_WORDS: Final = [{"prefix": f"{name}:", "description": name} for name in ("question", "photo", "answer")]
STATE: Final[dict[str, Any]] = {"instructions": "Say.", "fields": _WORDS, "demos": [], "train": []}
RECORD: Final[dict[str, Any]] = {"spec": SPEC, "state": {"self": STATE}, "dspy": "3.4.1", "schema": SCHEMA}
DOCUMENT: Final[dict[str, Any]] = {
    "traces": [],
    "train": [],
    "demos": [],
    "signature": {"instructions": "Say.", "fields": _WORDS},
    "lm": None,
    "metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.4.1", "cloudpickle": "3.1"}},
}
REDUCED: Final = {"__reduce__": ["os.system", ["touch /tmp/owned"]], "py/object": "os.system"}
_MARKED: Final = "<<CUSTOM-TYPE-START-IDENTIFIER>>{}<<CUSTOM-TYPE-END-IDENTIFIER>>"


def record(**changes: Any) -> dict[str, Any]:
    return {**RECORD, **changes}


def spec(**changes: Any) -> dict[str, Any]:
    return record(spec={**SPEC, **changes})


def state(**changes: Any) -> dict[str, Any]:
    return record(state={"self": {**STATE, **changes}})


def demo(**fields: Any) -> dict[str, Any]:
    shown = {"question": "x", "answer": "y", **fields}
    return state(demos=[Tagged("example", {"fields": shown})])


def document(**changes: Any) -> str:
    return json.dumps({**DOCUMENT, **changes})


def shown(**fields: Any) -> str:
    return document(demos=[{"question": "x", "answer": "y", **fields}])


def marked(*parts: Any) -> str:
    return _MARKED.format(json.dumps(list(parts)))


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def nested(depth: int, inner: object = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


URLS: Final = {
    "a path": "/etc/passwd",
    "a file": "file:///etc/passwd",
    "the metadata service": "http://169.254.169.254/latest/meta-data/",
    "loopback": "http://127.0.0.1:9/",
    "ftp": "ftp://127.0.0.1/x",
}

FLEX: Final[dict[str, Any]] = {"module": "Flex", "signature": "question -> answer", "options": {}}
RECORDS: Final[dict[str, Any]] = {
    "a module by its path": spec(module="os.path"),
    "a module of builtins": spec(module="builtins.exec"),
    "a module that is no program": spec(module="LM"),
    "a module with dots": spec(module="dspy.predict.predict.Predict"),
    "source as an option": spec(module="Flex", options={"module_src": "import os; os.system('true')"}),
    "source of a predictor": state(source="import os; os.system('true')"),
    "source that is none": {**RECORD, "spec": FLEX, "state": {"self": {"source": REDUCED}}},
    "source with more": {**RECORD, "spec": FLEX, "state": {"self": {"source": "x", "module_src": "x"}}},
    "an interpreter": spec(module="ProgramOfThought", options={"interpreter_factory": "LocalInterpreter"}),
    "a type by its path": spec(signature="q: evilmod.T -> a"),
    "a type that calls": spec(signature="q: __import__('os').system('true') -> a"),
    "a default that calls": spec(signature="q: str = open('/etc/passwd').read() -> a"),
    "a literal that calls": spec(signature="q -> a: literal[open('/etc/passwd')]"),
    "a kind by its path": spec(
        signature={"inputs": [{"name": "q", "type": {"kind": "os.PathLike"}}], "outputs": [{"name": "a"}]}
    ),
    "a field named like a method": spec(
        signature={"inputs": [{"name": "__class__"}], "outputs": [{"name": "model_fields"}]}
    ),
    "a pattern that explodes": spec(
        signature={"inputs": [{"name": "q", "pattern": "(a+)+$" * 50}], "outputs": [{"name": "a"}]}
    ),
    "a callback": spec(options={"callbacks": ["os.system"]}),
    "an engine": spec(options={"config": {"engine": "evilmod.Engine"}}),
    "a rationale by its path": spec(module="ChainOfThought", options={"rationale_field_type": "os.system"}),
    "an address in the config": spec(options={"config": {"api_base": "http://169.254.169.254/"}}),
    "a reduced spec": record(spec=REDUCED),
    "a reduced state": record(state=REDUCED),
    "a reduced predictor": record(state={"self": REDUCED}),
    "an attribute of the predictor": state(forward="os.system"),
    "a dunder of the predictor": state(__class__="os.system"),
    "a language model": state(lm={"_dspy_lm_class": "evilmod.LM", "api_base": "http://127.0.0.1:9"}),
    "traces": state(traces=[REDUCED]),
    "decisions": state(decisions={"__class__": {"__init__": "x"}}),
    "a reduced demo": demo(extra=REDUCED),
    "a tool": demo(extra=Tagged("tool", {"name": "system", "func": "os.system"})),
    "a function": demo(extra=FunctionReference("os.system")),
    "tool calls": demo(extra=Tagged("tool_calls", {"tool_calls": [{"name": "os.system", "args": {"x": 1}}]})),
    "an unknown tag": demo(extra=Tagged("python/object/apply:os.system", ["true"])),
    "a template in the instructions": state(
        instructions="{0.__class__.__init__.__globals__} %s {question!r}"
    ),
    "a template in a prefix": state(fields=[{"prefix": "{__import__('os')}", "description": "%n"}] * 3),
    "a download by a demo": demo(photo=Tagged("image", {"url": "http://127.0.0.1:9/", "download": True})),
    "bytes for an image": demo(photo=Tagged("image", {"url": b"\x89PNG"})),
    "a path for a file": demo(extra=Tagged("file", {"file_data": "/etc/passwd"})),
    "a path for audio": demo(extra=Tagged("audio", {"data": "/etc/passwd", "audio_format": "wav"})),
    "a negative count of fields": state(fields=[]),
    "very many fields": state(fields=_WORDS * 10_000),
    "very many demos": state(
        demos=[Tagged("example", {"fields": {"question": "x", "answer": "y"}})] * 20_000
    ),
    "very many predictors": record(state={f"p{n}": STATE for n in range(10_000)}),
    "a deep demo": demo(extra=nested(48)),
    "a deep option": spec(options={"config": {"stop": nested(48)}}),
    "a state of the wrong type": record(state=nested(3)),
    "a schema of the wrong type": record(schema="1; import os"),
    "a newer schema": record(schema=SCHEMA + 1),
    "an old schema of nothing": {"schema": 1, "state": {"self": {"signature": REDUCED}}},
    "an old language model": {
        **RECORD,
        "schema": 1,
        "state": {
            "self": {
                "signature": {"instructions": "x", "fields": _WORDS},
                "demos": [],
                "train": [],
                "lm": {"_dspy_lm_class": "evilmod.LM", "model_list": [{"api_base": "http://127.0.0.1:9"}]},
            }
        },
    },
    **{f"{name} for an image": demo(photo=Tagged("image", {"url": url})) for name, url in URLS.items()},
}
"""Loaded, built and predicted with."""

DOCUMENTS: Final[dict[str, str]] = {
    "no document": "import os; os.system('true')",
    "a pickle": "\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94",
    "a class of a language model": document(lm={"_dspy_lm_class": "evilmod.LM", "model": "x"}),
    "an address of a language model": document(
        lm={"model": "x", "api_base": "http://127.0.0.1:9", "model_list": [1]}
    ),
    "an engine of a language model": document(
        lm={"model": "x", "engine": {"class": "evilmod.E", "state": {}}}
    ),
    "leave for pickle": document(allow_pickle=True),
    "leave for unsafe models": document(allow_unsafe_lm_state=True),
    "metadata that lies": document(metadata={"dependency_versions": {"evilmod": "1", "dspy": REDUCED}}),
    "metadata of another kind": document(metadata=[["dependency_versions", {}]]),
    "a signature by its path": document(signature="evilmod.Signature"),
    "an extended signature": document(extended_signature={"instructions": "x", "fields": []}),
    "module source": document(module_src="import os"),
    "an attribute": document(forward="os.system", __class__="os.system"),
    "a reduced document": json.dumps(REDUCED),
    "a reduced demo in a document": shown(extra=REDUCED),
    "a deep document": document(demos=[{"question": "x", "answer": "y", "extra": nested(900)}]),
    "a deeper document": '{"demos": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a huge number": document(demos=[{"question": 10**400, "answer": "y"}]).replace(
        "1" + "0" * 400, "9" * 4000
    ),
    "marked text of nothing": shown(photo=_MARKED.format("{]")),
    "marked text of a tool": shown(photo=marked({"type": "tool", "func": "os.system"})),
    "marked text in marked text": shown(photo=marked(image_part(marked(image_part("http://127.0.0.1:9/"))))),
    "marked text of many parts": shown(photo=marked(*[image_part("http://127.0.0.1:9/")] * 1000)),
    **{f"marked text of {name}": shown(photo=marked(image_part(url))) for name, url in URLS.items()},
}
"""Undumped, and what comes of it built and predicted with."""

CHECKPOINTS: Final[dict[str, Any]] = {
    "a reduced history": {"history": [REDUCED], "state": None, "schema": 1},
    "a path in the history": {
        "history": [{"question": "x", "photo": Tagged("image", {"url": "/etc/passwd"}), "answer": "y"}],
        "state": None,
        "schema": 1,
    },
    "a history of another kind": {"history": REDUCED, "state": None, "schema": 1},
    "a reduced session": {"history": [], "state": {"self": REDUCED}, "schema": 1},
    "a memory for a module that has none": {"history": [], "state": None, "schema": 1, "memory": REDUCED},
    "a newer checkpoint": {"history": [], "state": None, "schema": 2},
}
"""Loaded into a session with a conversation, and predicted with."""

_SYSTEM: Final = "__import__('os').system('touch /tmp/owned')"
SOURCES: Final[dict[str, str]] = {
    "a module that acts": f"{_SYSTEM}\nclass A:\n    def forward(self): pass",
    "a class that acts": f"class A:\n    {_SYSTEM}\n    def forward(self): pass",
    "a decorator that acts": f"@{_SYSTEM}\nclass A:\n    def forward(self): pass",
    "a metaclass that acts": f"class A(metaclass={_SYSTEM}):\n    def forward(self): pass",
    "a default that acts": f"class A:\n    def forward(self, x={_SYSTEM}): pass",
    "an annotation that acts": f"class A:\n    x: {_SYSTEM} = 1\n    def forward(self, x: {_SYSTEM}): pass",
    "an import": "import antigravity\nclass A:\n    def forward(self): pass",
    "an encoding": "# coding: evilmod\nclass A:\n    def forward(self): pass",
}
"""Of a Flex, loaded and built: it may be parsed, and is not to be run."""

CHAT: Final = record(
    spec={"module": "Predict", "signature": "question, history: history -> answer", "options": {}},
    state={"self": {**STATE, "fields": _WORDS}},
)
MINE: Final[dict[str, Any]] = {"program": "p", "version": 1}
DENIED: Final = (
    *("import", "exec", "compile", "open", "pickle.", "marshal.", "ctypes.", "socket.", "subprocess."),
    *(
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.listdir",
    ),
    *("shutil.", "urllib.", "http.", "sqlite3.", "code.", "builtins.input", "sys.addaudithook"),
)


class Watch:
    """What the interpreter is asked to do, once it is watched."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        # Source is parsed, which is told as compiling to "<unknown>"; running it would be told as exec.
        parses = event == "compile" and arguments[1] == "<unknown>"
        if self.is_on and event.startswith(DENIED) and not parses:
            self.seen.append(f"{event} {arguments!r}"[:200])
            raise PermissionError(f"{event} is denied")


async def try_record(hop: Any, value: Any) -> str:
    await hop.call("program.load", value, **MINE, build=True)
    await hop.call("program.predict", {"inputs": {"question": "x"}}, **MINE)
    return "harmless"


async def try_source(hop: Any, source: str) -> str:
    await hop.call(
        "program.load", {**RECORD, "spec": FLEX, "state": {"self": {"source": source}}}, **MINE, build=True
    )
    return "harmless"


async def try_document(hop: Any, text: str) -> str:
    return await try_record(hop, await hop.call("program.undump", {"document": text, "spec": SPEC}))


async def try_checkpoint(hop: Any, checkpoint: Any) -> str:
    await hop.call("program.load", CHAT, **MINE)
    await hop.call("session.load", checkpoint, session="s", turn=3, **MINE)
    await hop.call("program.predict", {"inputs": {"question": "x"}}, session="s", turn=3, **MINE)
    return "harmless"


def _control(watch: Watch) -> str:
    """What is denied while the watch is on."""
    watch.is_on = True
    try:
        with open("/etc/passwd"):
            return "harmless"
    except PermissionError:
        return "denied"
    finally:
        watch.is_on = False


async def main() -> dict[str, list[Any]]:
    """Try everything; gives of each what came of it and what the interpreter was asked to do."""
    from tests.support.hops import worker_here

    watch = Watch()
    sys.addaudithook(watch)
    outcomes: dict[str, list[Any]] = {"the hook": [_control(watch), watch.seen]}
    async with worker_here() as (hop, _):
        await try_record(hop, RECORD)
        await try_source(hop, "class A:\n    def forward(self): pass")
        await try_document(hop, json.dumps(DOCUMENT))
        await try_checkpoint(hop, {"history": [{"question": "x", "answer": "y"}], "state": None, "schema": 1})
        for attempt, cases in (
            (try_record, RECORDS),
            (try_source, SOURCES),
            (try_document, DOCUMENTS),
            (try_checkpoint, CHECKPOINTS),
        ):
            for name, case in cases.items():
                watch.seen = []
                watch.is_on = True
                try:
                    outcome = await attempt(hop, case)
                except DSPexError as refused:
                    outcome = refused.code
                watch.is_on = False
                outcomes[name] = [outcome, watch.seen]
    return outcomes


if __name__ == "__main__":
    preload.run()  # what is imported at first use, as a zygote does
    print(json.dumps(asyncio.run(main()), indent=1))
