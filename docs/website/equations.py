r"""TeX becomes MathML when the site is built: no script, no network, and a mistake is an error.

KaTeX reads the TeX, the copy of it that sphinxcontrib-katex brings, run by QuickJS. Browsers lay
MathML out themselves; the font for it, STIX Two Math, comes with ziamath. The number of an
equation, its ``\tag``, stands at the right margin, beside what scrolls where it is too wide.
"""

import html
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset
from sphinx.writers.html5 import HTML5Translator

LOG = logging.getLogger(__name__)
TAG = re.compile(r"\\tag\{([^}]*)\}")
TEX = re.compile(r"<semantics>(.*)<annotation[^>]*>.*?</annotation></semantics>", re.DOTALL)
# A sign after another operator, but not after what closes, is the sign of what follows.
SIGN = re.compile(r"(<mo[^>]*>[^<)\]}⟩|∣∥!\u2061]+</mo>)<mo>([−+])</mo>")
# A name of a function, its lower limit perhaps, and what it is of without parentheses.
NAME = re.compile(r"<mo>\u2061</mo>(?!</mrow>|<mo)|(?<=<mo>\u2061</mo></mrow><mi>\w</mi></munder>)")
JOINED = "(tex, display) => [katex.renderToString(tex, {%s, displayMode: display})].join('')"
STRICT = "output: 'mathml', strict: 'error', trust: false"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    app.connect("builder-inited", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy_font(app: Sphinx) -> None:
    """Put the font where `site.css` looks for it."""
    copy_asset(beside("ziamath", "fonts/STIXTwoMath-Regular.ttf"), app.outdir / "_static")


def visit_inline(translator: HTML5Translator, node: nodes.math) -> NoReturn:
    """Write a formula inside a line."""
    translator.body.append(mathml(node.astext(), False, node))
    raise nodes.SkipNode


def visit_display(translator: HTML5Translator, node: nodes.math_block) -> NoReturn:
    """Write a formula of its own, and its number."""
    tex = node.astext()
    tags = TAG.findall(tex)
    number = f'<span class="number">({html.escape(tags[0])})</span>' if tags else ""
    formula = mathml(TAG.sub("", tex), True, node)
    translator.body.append(
        f'<div class="equation"><div class="formula">{formula}</div>{number}</div>\n'
    )
    raise nodes.SkipNode


def mathml(tex: str, display: bool, node: nodes.Element) -> str:
    """Return a <math> element; what KaTeX does not take is a warning at the place of `node`."""
    try:
        written = katex()(tex.strip(), display)
    except quickjs.JSException as error:
        LOG.warning("%s", str(error).splitlines()[0], location=node)
        return f"<code>{html.escape(tex)}</code>"
    written = SIGN.sub(r'\1<mo form="prefix">\2</mo>', TEX.sub(r"\1", written))
    return NAME.sub('<mspace width="0.167em"></mspace>', written)


@cache
def katex() -> Any:
    """Return KaTeX as a function of TeX and whether it is displayed."""
    context = quickjs.Context()
    context.eval(beside("sphinxcontrib.katex", "katex.min.js").read_text(encoding="utf-8"))
    # Joined, because what comes back must not be pieces of a string.
    return context.eval(JOINED % STRICT)


def beside(module: str, name: str) -> Path:
    """Return the path of a file that a package brings, without importing the package."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / name
