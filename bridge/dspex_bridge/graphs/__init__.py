"""GRAPHS: what a program is made of, as data and as drawings.

`walking` finds the parts of a built module, `mermaid` and `svg` draw them. All but the walk are pure
functions over `parts.Graph`; `layout` knows boxes and arrows, and nothing of programs.
"""

from .mermaid import to_mermaid
from .parts import Edge, Graph, Node
from .svg import to_svg
from .walking import graph_of

__all__ = ["Edge", "Graph", "Node", "graph_of", "to_mermaid", "to_svg"]
