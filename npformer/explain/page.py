"""An explanation as one HTML page that needs nothing else.

What flows forward is blue, what flows backward orange. Under the pointer, a variable lights up
wherever it is made or used.
"""

import html
import re

from .text import equation, shapes, shown, verdicts
from .trace import Explanation, Step

_NAME = re.compile(r"[A-Za-z_]\w*")

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #222; background: #fff; }
section { border-left: 4px solid; margin: 1rem 0; padding: .25rem 0 .25rem 1rem; }
.forward { border-color: #1f5a96; } .backward { border-color: #d9731a; }
h2.forward { color: #1f5a96; } h2.backward { color: #b05a10; }
pre { overflow-x: auto; margin: .25rem 0; font-size: 14px; }
.equation { color: #555; } .where { color: #777; font-size: 13px; }
.name { border-radius: 3px; padding: 0 1px; } .on { background: #ffe58a; }
"""

_SCRIPT = """
for (const one of document.querySelectorAll(".name")) {
  const all = () => document.querySelectorAll('.name[data-name="' + one.dataset.name + '"]');
  one.addEventListener("mouseenter", () => all().forEach(e => e.classList.add("on")));
  one.addEventListener("mouseleave", () => all().forEach(e => e.classList.remove("on")));
}
"""


def as_html(found: Explanation) -> str:
    """Write an explanation as a page.

    Parameters
    ----------
    found : Explanation

    Returns
    -------
    str
        A whole document. It loads nothing.
    """
    names = {name for step in found.steps for name in step.made if _NAME.fullmatch(name)}
    names |= {"dy", "y", *found.inputs}
    title = html.escape(found.example.name)
    body = [f"<h1>{title}</h1>", "<p>Point at a variable to see where it comes from and goes.</p>"]
    for name, value in found.inputs.items():
        body.append(_block(shown(name, value), names))
    for backward, heading in ((False, "Forward"), (True, "Backward")):
        kind = "backward" if backward else "forward"
        body.append(f'<h2 class="{kind}">{heading}</h2>')
        if backward:
            body.append(_block(shown("dy", found.dy), names))
        body += [
            _section(step, found, kind, names) for step in found.steps if step.backward == backward
        ]
    body.append("<h2>Against exact derivatives</h2>")
    body.append(_block([f"d{name}: {said}" for name, said in verdicts(found)], names))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(step: Step, found: Explanation, kind: str, names: set[str]) -> str:
    equations = "".join(
        f'<pre class="equation">{html.escape(chr(10).join(equation(tag, found)))}</pre>'
        for tag in step.tags
    )
    where = f'<div class="where">{html.escape(step.function)}, line {step.line}</div>'
    lines = [
        line
        for name, value in step.made.items()
        for line in (*shown(name, value), *shapes(name, value, found))
    ]
    code = _block([step.source], names)
    return f'<section class="{kind}">{equations}{where}{code}{_block(lines, names)}</section>'


def _block(lines: list[str], names: set[str]) -> str:
    return "<pre>" + "\n".join(_marked(line, names) for line in lines) + "</pre>"


def _marked(line: str, names: set[str]) -> str:
    """Escape a line, and mark the variables in it."""
    parts, end = [], 0
    for match in _NAME.finditer(line):
        parts.append(html.escape(line[end : match.start()]))
        word = html.escape(match[0])
        marked = f'<span class="name" data-name="{word}">{word}</span>'
        parts.append(marked if match[0] in names else word)
        end = match.end()
    return "".join(parts) + html.escape(line[end:])
