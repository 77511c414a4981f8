"""npformer explain: what is shown is what ran, of every operation, and the page is whole."""

import html.parser
import re

import numpy as np
import pytest
from support.tags import docstring, in_docstring

from npformer import Layer, catalogue
from npformer.cli import main
from npformer.explain import as_text, explain
from npformer.explain.page import as_html

EXAMPLES = {e.name: e for e in catalogue.examples() if not isinstance(e.target, Layer)}
FIRST = {e.subject: e.name for e in reversed(EXAMPLES.values())}  # the plain one of each
every_operation = pytest.mark.parametrize("name", FIRST.values())


@pytest.fixture(scope="module")
def found():
    return {name: explain(EXAMPLES[name]) for name in FIRST.values()}


@every_operation
def test_the_output_and_the_gradients_are_those_of_a_plain_run(name, found):
    example = EXAMPLES[name]
    y, saved = example.forward()
    np.testing.assert_array_equal(found[name].y, y)
    gradients = example.backward(found[name].dy, saved)
    made = [v for step in found[name].steps if step.backward for v in step.made.values()]
    for gradient in gradients:
        assert any(np.array_equal(gradient, v, equal_nan=True) for v in made), gradient
    assert found[name].report.ok


@every_operation
def test_both_passes_are_there_with_their_equations(name, found):
    explanation = found[name]
    tags = [tag for step in explanation.steps for tag in step.tags]
    known = in_docstring(docstring(explanation.module))
    assert set(tags) <= set(known)
    assert list(explanation.equations) == known
    forward = {tag for tag in tags if not tag.endswith("'")}
    assert forward
    assert forward < set(tags)
    shown = as_text(explanation)
    for tag in tags:
        first, *more = explanation.equations[tag].split("\n")
        assert f"\n({tag}) {first}" in shown
        assert all(f"\n     {line}\n" in shown for line in more)


class Reader(html.parser.HTMLParser):
    """Checks that every element that opens is closed, and keeps what would be loaded."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.marked = [], [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loads += [attributes[key] for key in ("src", "href") if key in attributes]
        if attributes.get("class") == "name":
            self.marked.add(attributes["data-name"])
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@every_operation
def test_the_page_is_whole_and_loads_nothing(name, found):
    page = as_html(found[name])
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not reader.loads
    assert "http" not in page
    assert {"dy"} <= reader.marked
    assert page.count('<section class="forward">') >= 1
    assert page.count('<section class="backward">') >= 1


def test_layer_norm_by_its_numbers(found):
    explanation = found["layer_norm"]
    x, made = explanation.inputs["x"], {}
    for step in explanation.steps:
        if not step.backward:
            for tag in step.tags:
                made[tag] = step
    np.testing.assert_allclose(made["1"].made["mu"], x.mean(-1, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(made["2"].made["c"], x - x.mean(-1, keepdims=True), rtol=1e-13)
    assert made["1"].source == "mu = row_sum(x) / n"
    line = explanation.module.read_text(encoding="utf-8").splitlines()[made["1"].line - 1]
    assert line.strip().startswith("mu = row_sum(x) / n")


def test_inputs_have_names(found):
    assert list(found["attention"].inputs) == ["q", "k", "v"]
    assert list(explain(EXAMPLES["attention [bias, scale]"]).inputs) == ["q", "k", "v", "bias"]
    assert list(found["embedding"].inputs) == ["ids", "weight"]


def test_a_comment_above_a_line_is_about_that_line(found):
    (step,) = (s for s in found["tanh"].steps if s.source == "dx = dy * (1.0 - y)")
    assert step.tags == ("1'",)


def test_what_is_written_into_an_array_is_seen(found):
    steps = [step for step in found["layer_norm"].steps if step.source == "c *= r"]
    assert len(steps) == 1
    assert "c" in steps[0].made


def test_a_wrong_gradient_is_called_wrong():
    example = EXAMPLES["tanh"]
    forward, backward = example.target
    twice = catalogue.Example("tanh", "", (forward, backward), example.inputs)
    object.__setattr__(twice, "target", (forward, _wrong(backward)))
    assert "IS WRONG" in as_text(explain(twice))


def _wrong(backward):
    def twice(dy, saved):
        return 2 * backward(dy, saved)

    twice.__wrapped__ = backward  # its module is the operation's
    return twice


def test_the_command(tmp_path, capsys):
    assert main(["explain", "softmax"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("softmax, defined in npformer/functional/softmax.py")
    assert re.search(r"dx +agrees \(relative error \d", out)
    assert "other examples: softmax [axis 0]" in out
    path = tmp_path / "softmax.html"
    assert main(["explain", "softmax [axis 0]", "--html", str(path)]) == 0
    assert "softmax [axis 0]" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Linear"], "Linear is a layer, which is made of operations"),
        (["sofmax"], "did you mean softmax"),
        (["softmax", "--html", "nowhere/x.html"], "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_explained_is_refused(words, said, capsys):
    assert main(["explain", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_layer_is_refused_by_the_function_as_well():
    layer = next(e for e in catalogue.examples() if isinstance(e.target, Layer))
    with pytest.raises(ValueError, match=r"is a layer, which is made of operations"):
        explain(layer)
