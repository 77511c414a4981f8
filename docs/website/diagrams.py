"""Mermaid diagrams become pictures when the site is built; GitHub draws them from the same text."""

import re
from typing import Any

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = re.compile(r'viewBox="\S+ \S+ (\S+)')
SMALLEST = 0.6  # of its size, down to which a wide diagram's text can be read


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, which MyST gives the fences of this name."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Mermaid(SphinxDirective):
    """A diagram, drawn as SVG inside the page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it, and set it in a box that scrolls where it is too wide."""
        svg = mermaidx.render("\n".join(self.content)).svg()
        # Its names must not meet those of another diagram of the page.
        svg = svg.replace("my-svg", f"diagram-{self.env.new_serialno('mermaid')}")
        width = SMALLEST * float(WIDTH.search(svg)[1])
        box = f'<div class="diagram" style="--width: {width:.0f}px">{svg}</div>'
        return [nodes.raw("", box, format="html")]
