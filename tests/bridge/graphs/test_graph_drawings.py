"""Drawings of programs: whatever their names hold, they stay drawings, and say what the graph says."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.graphs import Edge, Graph, Node, to_mermaid, to_svg
from dspex_bridge.graphs.labels import MAX_LINE_CHARACTERS, label_of, plain

SVG: Final = "{http://www.w3.org/2000/svg}"
DRAWN: Final = frozenset(
    SVG + name for name in ("svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "text")
)
ATTRIBUTES: Final = frozenset(
    ("id", "role", "aria-labelledby", "width", "height", "viewBox", "refX", "refY", "markerWidth")
    + ("markerHeight", "markerUnits", "orient", "class", "d", "rx", "transform", "style", "x", "y")
    + ("text-anchor", "marker-end")
)
HOSTILE: Final = (
    'end"]; click n0 href "javascript:alert(1)"',
    "</text></svg><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a\n  n0 --> n1\r\n%%{init: {}}%%",
    "`**bold**` _x_ 1. one",
    "#quot;#35;&amp;&#60;",
    "style a:b#c;",
    "ﬂ°°60¶ß",
    "\u202eright to left\u2066",
    "nul\x00 bell\x07 \ufffe",
    "]]><![CDATA[",
    "{{ {% x %} ${y}",
    "日本語 العربية é",
    "",
    " ",
    "x" * 5_000,
)


def hostile_graph(text: str) -> Graph:
    """A graph with a text in every place where one can be."""
    signature = {
        "name": text,
        "instructions": text,
        "inputs": [{"name": text, "type": text, "description": text}] * 9,
        "outputs": [{"name": text, "type": text, "description": text}],
    }
    nodes = (
        Node(
            "program",
            "program",
            text,
            {"module": text, "program": text, "version": 1, "signature": signature},
        ),
        Node("self", "module", text, {"class": text, "path": text}),
        Node(
            "p",
            "predictor",
            text,
            {"class": text, "path": text, "predictor": text, "signature": signature, "demos": 2, "lm": text},
        ),
        Node(
            "t",
            "tool",
            text,
            {"description": text, "args": {text: {"type": text}, "b": True}, "function": text},
        ),
        Node("r", "reward", text, {"description": text, "function": text}),
        Node("l", "lm", text, {"model": text}),
    )
    edges = (
        Edge("program", "self", "contains"),
        Edge("self", "p", "contains"),
        Edge("self", "p", "feeds", text),
        Edge("p", "self", "feeds", text),
        Edge("p", "p", "feeds", text),
        Edge("self", "t", "calls"),
        Edge("self", "r", "calls"),
        Edge("p", "l", "calls"),
    )
    return Graph(nodes, edges)


LABEL: Final = r'"((?:[^\W_]|[ ]|#\d+;|<br/>)*)"'
LINES: Final = (
    "flowchart LR",
    r"  acc(?:Title|Descr): (?:[^\W_]|[ ]|#\d+;)+",
    rf"  n\d+(?:\(\[{LABEL}\]\)|\[{LABEL}\]|\{{\{{{LABEL}\}}\}}|\[/{LABEL}/\]|\[\({LABEL}\)\])",
    rf"  n\d+ (?:---|-\.->|==>)(?:\|{LABEL}\|)? n\d+",
    r"  class n\d+(?:,n\d+)* (?:program|module|predictor|tool|reward|lm)",
)


def mermaid_labels(text: str) -> list[list[str]]:
    """What Mermaid shows of each node: its lines. Fails for a line that is not one of ours."""
    labels: list[list[str]] = []
    for line in text.removesuffix("\n").split("\n"):
        assert any(re.fullmatch(form, line) for form in LINES), line
        node = re.fullmatch(LINES[2], line)
        if node is not None:
            whole = next(group for group in node.groups() if group is not None)
            labels.append([shown(part) for part in whole.split("<br/>")])
    return labels


def shown(text: str) -> str:
    return re.sub(r"#(\d+);", lambda entity: chr(int(entity[1])), text)


def check_svg(text: str) -> ET.Element:
    """That it is XML of the elements and attributes that are ours, and refers to nothing outside."""
    root = ET.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag in DRAWN
        assert set(element.keys()) <= ATTRIBUTES
    for reference in re.findall(
        r"url\(([^)]*)\)", "".join(element.get("marker-end") or "" for element in root.iter())
    ):
        assert reference.removeprefix("#") in ids
    style = root.findtext(f"{SVG}style") or ""
    assert not re.search(r"@import|url\(|https?:|expression", style)
    return root


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_a_drawing(text: str) -> None:
    """And every line is shown as it is, but for what is no text, in both."""
    graph = hostile_graph(text)
    labels = [label_of(node) for node in graph.nodes]
    expected = [[label.title, label.role, *label.lines] for label in labels]
    assert expected == mermaid_labels(to_mermaid(graph))
    root = check_svg(to_svg(graph))
    boxes = texts(root)[-sum(map(len, expected)) :]
    assert [line for lines in expected for line in lines] == boxes


@given(st.text())
def test_no_text_breaks_out_of_a_drawing(text: str) -> None:
    """Whatever it is."""
    graph = hostile_graph(text)
    assert 6 == len(mermaid_labels(to_mermaid(graph)))
    check_svg(to_svg(graph))


@given(st.text())
def test_a_line_is_one_line_and_short(text: str) -> None:
    """Without characters that steer, and the same when it is cleaned again."""
    line = plain(text)
    assert len(line) <= MAX_LINE_CHARACTERS
    assert line == " ".join(line.split())
    assert line.isprintable() or {"\u200c", "\u200d"} & set(line)
    assert line == plain(line)


def test_a_drawing_has_a_title_and_a_description() -> None:
    """Which name the program and its parts; a part's instructions are a hint at its box."""
    root = check_svg(to_svg(hostile_graph("qa & co")))
    own = str(root.get("id"))
    assert f"{own}-t {own}-d" == root.get("aria-labelledby")
    assert "img" == root.get("role")
    assert "The program qa & co" == root.findtext(f"{SVG}title")
    assert "predictors: qa & co" in str(root.findtext(f"{SVG}desc"))
    assert "qa & co" in {
        title.text for group in root.iter(f"{SVG}g") for title in group.findall(f"{SVG}title")
    }


def test_the_same_graph_is_the_same_drawing() -> None:
    """And another one has another id, so that both can stand in one page."""
    one, other = to_svg(hostile_graph("a")), to_svg(hostile_graph("b"))
    assert one == to_svg(hostile_graph("a"))
    assert ET.fromstring(one).get("id") != ET.fromstring(other).get("id")
    for style in re.findall(r"<style>(.*?)</style>", one, re.DOTALL):
        selectors = re.findall(r"([^{}]+)\{", html.unescape(style))
        own = ET.fromstring(one).get("id")
        assert all(f"#{own}" in selector or "@media" in selector for selector in selectors)


def test_edges_and_their_labels_are_drawn() -> None:
    """Each once, by what it says."""
    graph = hostile_graph("draft")
    arrows = [line for line in to_mermaid(graph).splitlines() if re.fullmatch(LINES[3], line)]
    assert len(graph.edges) == len(arrows)
    assert '  n1 ==>|"draft"| n2' in arrows
    root = ET.fromstring(to_svg(graph))
    drawn = [path.get("class", "").removeprefix("arrow ") for path in root.iter(f"{SVG}path")]
    assert [edge.link for edge in graph.edges] == [look for look in drawn if "head" not in look]


MERMAID: Final = os.environ.get("DSPEX_TEST_MERMAID", "")
PARSER: Final = Path(__file__).parents[2] / "support" / "mermaid_parser.mjs"


def parsed(folder: Path, texts: list[str]) -> list[Mapping[str, Any]]:
    """What Mermaid itself reads in each text."""
    script = folder / "parser.mjs"
    script.write_text(PARSER.read_text())
    (folder / "node_modules").symlink_to(Path(MERMAID).resolve() / "node_modules")
    done = subprocess.run(
        [shutil.which("node") or "node", str(script)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: list[Mapping[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(
    not MERMAID, reason="DSPEX_TEST_MERMAID names a folder in which npm has installed mermaid and jsdom"
)
def test_mermaid_reads_what_was_meant(tmp_path: Path) -> None:
    """All nodes and edges, no link, no style, and each label to the letter."""
    graphs = [hostile_graph(text) for text in HOSTILE]
    for graph, read in zip(graphs, parsed(tmp_path, [to_mermaid(graph) for graph in graphs]), strict=True):
        assert "error" not in read, read
        labels = [label_of(node) for node in graph.nodes]
        assert [[label.title, label.role, *label.lines] for label in labels] == [
            shown(re.sub("ﬂ°°(\\d+)¶ß", r"#\1;", node["text"])).split("<br>") for node in read["nodes"]
        ]
        assert all(node["link"] is None and not node["styles"] for node in read["nodes"])
        assert len(graph.edges) == len(read["edges"])
