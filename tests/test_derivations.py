"""The book: every module with numbered equations has a page, and the page has those equations.

The tags of docstring and comments are compared in test_tags.py; here those of docstring and page.
"""

import re

import pytest
from support.book import PAGES
from support.tags import FILES, ROOT, TAG, docstring, in_docstring

import npformer.functional as F
from npformer import layers

BOOK = ROOT.parent / "docs" / "derivations"
HEADINGS = [
    "What it computes, and why",
    "Forward",
    "Backward",
    "Vector form",
    "Read it",
    "What is saved",
    "Cost",
    "Traps",
    "Check it",
    "Exercises",
    "History and sources",
]
MATH = re.compile(r"^ *```math\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^ *```\w*\n.*?^ *```$", re.DOTALL | re.MULTILINE)
GREEK = "alpha|beta|gamma|delta|eps|mu|sigma|tau|theta|phi|Phi|omega|lambda|pi"


def read(page):
    return (BOOK / f"{page}.md").read_text(encoding="utf-8")


def tagged(text):
    """Tag and block of each numbered equation of a page, in their order."""
    return [(tag, block) for block in MATH.findall(text) for tag in re.findall(TAGGED, block)]


TAGGED = r"\\tag\{(\d+'?)\}"


def plain(tex):
    r"""What a docstring would write: ``\hat x_{ij}`` is xhat_ij, ``\mathrm{var}`` is var."""
    tex = re.sub(r"\\(?:begin|end)\{aligned\}|[&\s]|\\[,;!]|\\q?quad", " ", tex)
    tex = re.sub(r"\\(?:mathrm|text|mathbf)\{(\w+)\}", r"\1", tex)
    tex = re.sub(r"\\(hat|bar|tilde) *\{?(\w)\}?", r"\2\1", tex)
    tex = tex.replace("varepsilon", "eps").replace("epsilon", "eps")
    tex = re.sub(rf"\\({GREEK})(?![A-Za-z])", r"\1", tex)
    return re.sub(r"[{}\s]", "", tex)


def left_side(block):
    """What a numbered equation defines, as a docstring would write it."""
    return plain(block.partition("=")[0])


def entries(text):
    """What a docstring has at each tag, up to the next one."""
    parts = re.split(rf"^ {{4,}}(?:pre +)?{TAG} ", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def holds(entry, symbol):
    return bool(re.search(rf"(?<![\w']){re.escape(symbol)}(?![\w'])", entry))


def inline(text):
    """The formulas within lines, each with the characters around it."""
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))
    found = re.finditer(r"\$([^$]*)\$", text)
    return [(text[: m.start()][-1:], m[1], text[m.end() :][:1]) for m in found]


def written():
    return sorted(path.stem for path in BOOK.glob("*.md") if path.stem != "README")


def test_every_operation_and_every_layer_has_its_page():
    operations = {name for name in F.__all__ if f"{name}_backward" in F.__all__}
    assert operations <= set(PAGES)
    composites = {"multi_head_attention", "feed_forward", "residual", "encoder_layer", "encoder"}
    assert composites | {"decoder_layer", "decoder", "transformer"} <= set(PAGES)
    for name in set(layers.__all__) - {"KVCache"}:  # it holds what a layer made
        module = getattr(layers, name).__module__.split(".")[-1]
        assert {module, module.removesuffix("_positional_encoding")} & set(PAGES), name


def test_every_module_with_equations_has_its_page():
    assert written() == sorted(PAGES)


def test_the_contents_list_every_page_that_is_written():
    listed = re.findall(r"\]\((\w+)\.md\)", (BOOK / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(listed) - {"README"}) == written()


@pytest.mark.parametrize("page", written())
def test_page_and_docstring_have_the_same_equations_in_the_same_order(page):
    want = in_docstring(docstring(FILES[PAGES[page]]))
    assert [tag for tag, _ in tagged(read(page))] == want


@pytest.mark.parametrize("page", written())
def test_page_and_docstring_call_things_by_the_same_letters(page):
    entry = entries(docstring(FILES[PAGES[page]]))
    for tag, block in tagged(read(page)):
        symbol = left_side(block)
        assert holds(entry[tag], symbol), f"({tag}) of the page is about {symbol}: {entry[tag]}"


@pytest.mark.parametrize("page", written())
def test_equations_that_a_page_speaks_of_are_there(page):
    text = read(page)
    spoken_of = set(re.findall(r"(?<!\w)\((\d\d?'?)\)", FENCED.sub("", text)))
    assert spoken_of <= {tag for tag, _ in tagged(text)}


@pytest.mark.parametrize("page", written())
def test_a_page_has_all_its_parts_and_leads_to_code_and_proof(page):
    text = read(page)
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == HEADINGS
    assert f"](../../npformer/{PAGES[page]})" in text
    assert re.search(r"\]\(\.\./\.\./tests/[\w/]+/test_\w+\.py\)", text)
    assert "](../notation.md" in text
    check, exercises = text.index("## Check it"), text.index("## Exercises")
    assert "gradcheck(" in text[check:exercises]
    assert "```python" in text[exercises:]  # a solution that runs
    assert "http" in text[text.index("## History") :]


@pytest.mark.parametrize(
    "page",
    sorted((ROOT.parent / "docs").rglob("*.md")),
    ids=lambda page: page.stem if page.stem != "README" else page.parent.name,
)
def test_formulas_survive_what_markdown_does_to_text(page):
    r"""GitHub reads a line as Markdown before it looks for formulas in it.

    Where a backslash stands before punctuation it is lost (``\,``), and so are pairs of ``*``, or
    of ``_`` after punctuation, and ``<`` begins a tag. In a math block all of them are safe.
    """
    text = page.read_text(encoding="utf-8")
    for block in MATH.findall(text):
        assert len(re.findall(r"\\tag\b", block)) <= 1, block
        assert "\n\n" not in block, block
    assert r"\operatorname" not in text  # GitHub refuses it
    if page.parent != BOOK and page.stem not in ("notation", "index"):
        return
    assert "$$" not in text
    for row in re.findall(r"^\|.*", text, re.MULTILINE):
        assert not any(cell.count("$") % 2 for cell in row.split("|")), row
    for before, formula, after in inline(text):
        assert not re.search(r"\\[^A-Za-z]|[*<>]|[^\w\s]_|\n", formula), formula
        assert formula == formula.strip() != "", formula
        assert not re.match(r"[\w$-]", before), f"{before}${formula}$"
        assert re.match(r"[\s.,:;!?)*]|$", after), f"${formula}${after}"


def test_the_readers_of_pages_see_what_is_there():
    text = "a (1)\n```math\n\\hat x_{i} = c_i r \\tag{5}\n```\n$a_i$ and ($b$), `$c$`\n"
    assert tagged(text) == [("5", "\\hat x_{i} = c_i r \\tag{5}\n")]
    assert left_side(tagged(text)[0][1]) == "xhat_i"
    assert plain(r"\mathrm{var}") == "var"
    assert plain(r"d\mu_{p}") == "dmu_p"
    assert plain(r"\begin{aligned} dx_{ij} &") == "dx_ij"
    assert inline(text) == [("\n", "a_i", " "), ("(", "b", ")")]
    assert entries("\n    (1)  x = 2\n    y\n    (1') dx\n") == {
        "1": " x = 2\n    y\n",
        "1'": "dx\n",
    }
    assert holds("dx_k = 1", "dx_k")
    assert not holds("dx_kj = 1", "dx_k")
    assert not holds("m'_i = 1", "m")
