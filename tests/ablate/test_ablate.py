"""Parts of a Transformer exchanged: that each is what it is called, and measured as is said."""

import json
import math
import sys

import numpy as np
import pytest

import npformer.functional as F
from npformer import gradcheck, masks
from npformer.ablate import (
    TASKS,
    Parts,
    Reader,
    judge,
    mean_and_spread,
    measure_order,
    measure_scores,
    train,
)
from npformer.ablate.bench import Bench, parameters, summary
from npformer.ablate.measures import BEYOND, LENGTH
from npformer.ablate.model import WIDTH, Louder
from npformer.ablate.tasks import BACK, VOCABULARY
from npformer.cli import main
from npformer.layers import Linear, MultiHeadAttention

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")


@pytest.mark.parametrize(
    "changes",
    [
        {"position": "learned", "causal": False},
        {"position": "sinusoidal", "heads": 2, "scaled": False},
        {"position": "rotary", "scaled": False},
        {"position": "alibi"},
    ],
    ids=lambda changes: changes["position"],
)
def test_the_gradients_of_a_reader(changes):
    rng = np.random.default_rng(0)
    model = Reader(Parts(5, 4, **changes), rng, np.float64)
    ids, targets = rng.integers(0, 5, (2, 2, 4))

    def forward(ids):
        return model.loss(ids, targets)

    def backward(dy, saved):
        model.loss_backward(saved, dy)

    # Where what is written here would go wrong; what the layers do has its own tests.
    first = model.stack.layers[0].self_attention
    parameters = {"tokens": model.tokens.weight, "queries": first.q_proj.weight}
    if changes["position"] == "learned":
        parameters["positions"] = model.positions.weight
    gradcheck((forward, backward), ids, parameters=parameters, mode="fast").assert_ok()


def test_a_model_without_the_scale_has_scores_without_it():
    """By the operation's own `scale`, from the same maps."""
    rng = np.random.default_rng(1)
    layer = MultiHeadAttention(8, 2, rng=rng, dtype=np.float64)
    for linear in (layer.q_proj, layer.k_proj):
        linear.bias.value[...] = rng.standard_normal(8)
    x = rng.standard_normal((1, 5, 8))
    cut = [p(x).reshape(1, 5, 2, 4).swapaxes(1, 2) for p in (layer.q_proj, layer.k_proj,
                                                              layer.v_proj)]  # fmt: skip
    o, _ = F.attention(*cut, mask=masks.causal(), scale=1.0)
    want = layer.out_proj(o.swapaxes(1, 2).reshape(1, 5, 8))
    scaled = layer(x, mask=masks.causal())
    layer.q_proj = Louder(layer.q_proj, 2.0)  # the root of 4
    np.testing.assert_allclose(layer(x, mask=masks.causal()), want, atol=1e-14)
    assert np.abs(want - scaled).max() > 0.01


def test_a_reader_without_the_scale_is_one_with_louder_queries():
    ids = np.random.default_rng(2).integers(0, 5, (2, 6))
    with_it, without = (
        Reader(Parts(5, 6, heads=2, scaled=scaled), np.random.default_rng(3), np.float64)
        for scaled in (True, False)
    )
    assert not np.allclose(with_it(ids), without(ids))
    for layer in with_it.stack.layers:
        for weight in (layer.self_attention.q_proj.weight, layer.self_attention.q_proj.bias):
            weight.value *= math.sqrt(WIDTH // 2)
    np.testing.assert_allclose(with_it(ids), without(ids), atol=1e-13)
    assert len(without.parameters()) == len(with_it.parameters())


def test_louder_is_linear_and_its_weights_are_the_same_ones():
    rng = np.random.default_rng(4)
    linear = Linear(3, 2, rng=rng, dtype=np.float64)
    louder = Louder(linear, 3.0)
    assert louder.weight is linear.weight
    gradcheck(louder, rng.standard_normal((4, 3))).assert_ok()


@pytest.mark.parametrize("position", POSITIONS)
def test_only_without_positions_and_without_a_mask_is_there_no_order(position):
    order = measure_order(position, rng=np.random.default_rng(5))
    if position == "none":
        assert order.both_ways < 1e-13
    else:
        assert order.both_ways > 1e-3
    assert order.causal > 1e-3


@pytest.mark.parametrize("position", POSITIONS)
def test_a_causal_reader_does_not_hear_what_follows(position):
    model = Reader(Parts(5, 8, position), np.random.default_rng(6), np.float64)
    ids = np.random.default_rng(7).integers(0, 4, (1, 8))
    other = ids.copy()
    other[0, 5] = 4
    moved = np.flatnonzero(np.any(model(ids) != model(other), axis=(0, 2)))
    assert moved[0] == 5


def test_only_learned_positions_end():
    ids = np.zeros((1, 9), np.int64)
    for position in POSITIONS:
        model = Reader(Parts(5, 8, position), np.random.default_rng(8))
        judged = judge(model, ids, ids, (8, 9))
        assert (judged is None) == (position == "learned")
        assert judge(model, ids, ids, (0, 8)) is not None
        if judged is None:
            with pytest.raises(ValueError, match="positions run from 0 to 8 but only 0 to 7"):
                model(ids)


def test_a_model_is_judged_at_the_places_that_are_named():
    model = Reader(Parts(VOCABULARY, 16, "alibi"), np.random.default_rng(9))
    ids = np.random.default_rng(10).integers(0, VOCABULARY, (3, 16))
    best = np.argmax(model(ids), axis=-1)
    targets = best.copy()
    targets[:, :4] = -100
    targets[0, 8] = (best[0, 8] + 1) % VOCABULARY
    assert judge(model, ids, targets, (0, 8)).right == 1.0
    assert judge(model, ids, targets, (8, 10)).right == pytest.approx(5 / 6)
    want, _ = F.cross_entropy(model(ids)[:, 8:10], targets[:, 8:10])
    assert judge(model, ids, targets, (8, 10)).loss == pytest.approx(want)


def test_the_tasks():
    ids, targets = TASKS["back"]().draw(np.random.default_rng(0), 2, 9, False)
    assert np.all(targets[:, :BACK] == -100)
    assert np.all(targets[:, BACK:] == ids[:, :-BACK])
    text = TASKS["text"]()
    ids, targets = text.draw(np.random.default_rng(0), 3, 9, False)
    assert np.all(targets[:, :-1] == ids[:, 1:])
    held_out, _ = text.draw(np.random.default_rng(0), 3, 9, True)
    assert not np.array_equal(ids, held_out)
    assert 0 <= ids.min() <= max(ids.max(), held_out.max()) < text.tokens


def test_a_training_finds_what_it_is_to_find_and_repeats():
    task, parts = TASKS["back"](), Parts(VOCABULARY, LENGTH, "rotary")
    one = train(task, parts, 80, seed=0)
    assert one.judged[0].right > 0.9
    assert len(one.judged) == 1 + len(BEYOND)
    assert one.curve.shape == (80,)
    assert 0 < one.steps_to(1.0) < 80
    assert one.steps_to(0.0) is None
    short, again = (train(task, parts, 3, seed=0) for _ in range(2))
    np.testing.assert_array_equal(short.curve, again.curve)
    other = train(task, parts, 3, seed=1)
    assert not np.array_equal(short.curve, other.curve)


def test_steps_are_counted_to_the_end_of_the_mean():
    run = train(TASKS["back"](), Parts(VOCABULARY, LENGTH), 1, seed=0)
    falls = run._replace(curve=np.array([3.0] * 12 + [0.0] * 10))
    assert falls.steps_to(3.1) == 10
    assert falls.steps_to(2.0) == 16  # 6 of 3 and 4 of 0
    assert falls.steps_to(-1.0) is None


def test_scores_are_those_of_the_textbook_version():
    rng = np.random.default_rng(11)
    found = measure_scores(16, 2.0, rng=rng, rows=7, keys=5)
    rng = np.random.default_rng(11)
    q, k = rng.standard_normal((7, 16)), rng.standard_normal((5, 16))
    a = F.softmax(q @ k.T / 2.0)[0]
    norms = [np.linalg.norm(np.diag(row) - np.outer(row, row)) for row in a]
    assert found.variance == pytest.approx(np.var(q @ k.T / 2.0))
    assert found.entropy == pytest.approx(-np.mean(np.sum(a * np.log(a), axis=1)))
    assert found.median == pytest.approx(np.median(norms))
    assert found.mean == pytest.approx(np.mean(norms))
    # Equal weights: the norm that the module's docstring says.
    equal = measure_scores(4, 1e9, rng=rng, keys=9)
    assert equal.mean == pytest.approx(math.sqrt(8) / 9)
    assert equal.entropy == pytest.approx(math.log(9))


def test_a_bench_trains_once_and_counts():
    bench = Bench(1, (0, 1))
    runs = bench.train("back", heads=2)
    assert bench.train("back", heads=2) is runs
    assert len(runs) == 2
    sizes = {parameters(bench.train("back", heads=heads)) for heads in (1, 2, 16)}
    assert len(sizes) == 1  # heads change no parameter
    assert summary(runs, lambda run: 1.0) == (1.0, 0.0)
    assert summary(runs, lambda run: 1.0 if run is runs[0] else None) is None
    assert mean_and_spread([1.0, 2.0, 6.0]) == (3.0, 2.5)


def test_the_command_prints_and_writes_what_was_measured(tmp_path, capsys):
    written = tmp_path / "x.json"
    words = ["ablate", "scale", "--steps", "1", "--repeats", "2", "--json", str(written)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = (line.split() for line in lines if line.startswith("64 "))
    assert 0.9 < float(row[1]) < 1.1
    assert 58 < float(row[2]) < 70
    assert sum("of width 8" in line for line in lines) == 2
    assert not any("Positions" in line or "Heads" in line for line in lines)
    found = json.loads(written.read_text())
    assert found["scores"]["64"]["scaled"]["variance"] == pytest.approx(float(row[1]), abs=0.01)
    assert {one["parts"]["scaled"] for one in found["trainings"]} == {True, False}
    assert [run["seed"] for run in found["trainings"][0]["runs"]] == [0, 1]
    assert len(found["trainings"][0]["runs"][0]["loss_of_steps"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["colours"], "STUDY: got 'colours', expected positions or heads or scale"),
        (["--repeats", "0"], "--repeats: got '0', expected a whole number of at least 1"),
        (["--out", "nowhere/x.png"], "there is no folder 'nowhere'"),
        (["--json", "nowhere/x.json"], "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused(words, said, capsys):
    assert main(["ablate", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out


def test_without_matplotlib_the_extra_is_named_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["ablate", "--steps", "1", "--out", str(tmp_path / "x.png")]) == 1
    captured = capsys.readouterr()
    assert "npformer[cli]" in captured.err
    assert not captured.out
