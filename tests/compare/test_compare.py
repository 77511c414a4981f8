"""Attention beside RNN, LSTM and convolutions: that what is measured is what it is called."""

import sys

import numpy as np
import pytest

from npformer import gradcheck
from npformer.cli import main
from npformer.compare import MIXERS, Times, exponent, measure_reach, measure_recall, measure_times
from npformer.compare.measures import VOCABULARY, Recaller
from npformer.compare.mixers import DEPTH, HEADS, KERNEL

every_mixer = pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)


@every_mixer
def test_the_gradients_of_each(mixer):
    rng = np.random.default_rng(0)
    layer = mixer.build(HEADS, rng, np.float64)
    gradcheck(layer, rng.standard_normal((2, 3, HEADS))).assert_ok()


@every_mixer
def test_a_place_hears_what_is_before_it_as_far_as_is_said(mixer):
    rng, length = np.random.default_rng(1), 24
    layer = mixer.build(8, rng, np.float64)
    x = rng.standard_normal((1, length, 8))
    y = layer(x)
    for place in (0, 5, length - 1):
        other = x.copy()
        other[0, place] += 1.0
        moved = np.flatnonzero(np.any(layer(other) != y, axis=(0, 2)))
        assert moved[0] == place  # and not before
        assert moved[-1] == min(length - 1, place + mixer.reach(length) - 1)
    assert MIXERS["convolutions"].reach(100) == 1 + DEPTH * (KERNEL - 1)


@every_mixer
def test_the_reach_is_the_norm_of_the_jacobian(mixer):
    """By all cotangents in turn, instead of random ones: equal in the mean."""
    width, length = 4, 5
    layer = mixer.build(width, np.random.default_rng(2), np.float64)
    x = np.random.default_rng(3).standard_normal((1, length, width))
    y, saved = layer.forward(x)
    squares = np.zeros(length)
    for entry in range(width):
        dy = np.zeros_like(y)
        dy[0, -1, entry] = 1.0
        squares += np.sum(layer.backward(dy, saved)[0] ** 2, axis=-1)
    reach = measure_reach(layer, x, rng=np.random.default_rng(4), draws=1000)
    np.testing.assert_allclose(reach.norms, np.sqrt(squares)[::-1], rtol=0.1)
    assert reach.at(0) == 1.0


def test_the_reach_is_exact_where_all_cotangents_give_the_same():
    """One channel: +1 and -1 have the same square, so that any draw is the norm."""
    mixer, rng = MIXERS["RNN"], np.random.default_rng(4)
    layer = mixer.build(1, rng, np.float64)
    x = rng.standard_normal((1, 6, 1))
    reach = measure_reach(layer, x, rng=rng)
    steps = [layer(x + 1e-6 * np.eye(6)[t][:, None])[0, -1, 0] for t in range(6)]
    below = [layer(x - 1e-6 * np.eye(6)[t][:, None])[0, -1, 0] for t in range(6)]
    slopes = np.abs(np.array(steps) - below)[::-1] / 2e-6
    np.testing.assert_allclose(reach.norms, slopes, rtol=1e-6, atol=1e-10)


def test_a_power_is_found_again():
    lengths = (10, 20, 40, 80)
    assert exponent(lengths, [3e-3 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    # Of the longer half: a constant that short ones are made of does not count.
    assert Times(lengths, (1.0, 1.0, 4.0, 16.0)).exponent == pytest.approx(2.0)
    for bad in (((10,), (1.0,)), ((10, 20), (1.0,)), ((10, 20), (0.0, 1.0))):
        with pytest.raises(ValueError, match=r"^exponent: "):
            exponent(*bad)


def test_times_are_one_for_each_length():
    times = measure_times(
        MIXERS["convolutions"], (2, 4), 3, repeats=1, rng=np.random.default_rng(0)
    )
    assert times.lengths == (2, 4)
    assert min(times.seconds) > 0


@every_mixer
def test_widths_for_equally_many_parameters(mixer):
    width = mixer.width_for(5000)
    assert width % mixer.multiple == 0
    assert abs(mixer.parameters(width) / 5000 - 1) < 0.1


def test_a_recaller_learns_what_is_near_and_not_what_it_cannot_hear():
    near = measure_recall(MIXERS["convolutions"], 1, 16, steps=120, rng=np.random.default_rng(0))
    far = measure_recall(MIXERS["convolutions"], 20, 16, steps=20, rng=np.random.default_rng(0))
    assert near.right > 0.9
    assert far.right < 0.2
    assert near.parameters == MIXERS["convolutions"].parameters(16)
    # What is recalled is heard better than before; what cannot be heard has no gradient.
    assert near.after.norms[1] > 3 * near.before.norms[1] > 0
    assert len(far.before.norms) == 21
    assert far.before.norms[20] == far.after.norms[20] == 0


def test_the_reach_of_a_batch_is_that_of_its_sequences():
    """One channel, where any cotangent gives the norm: squares are averaged over sequences."""
    layer = MIXERS["RNN"].build(1, np.random.default_rng(6), np.float64)
    x = np.random.default_rng(7).standard_normal((3, 4, 1))
    rng = np.random.default_rng(8)
    alone = [measure_reach(layer, x[b : b + 1], rng=rng).norms for b in range(3)]
    both = measure_reach(layer, x, rng=rng).norms
    np.testing.assert_allclose(both, np.sqrt(np.mean(np.square(alone), axis=0)))


def test_reach_does_not_underflow_in_float32():
    layer = MIXERS["RNN"].build(4, np.random.default_rng(9), np.float32)
    layer.layer.weight_hh.value *= 1e-3
    x = np.random.default_rng(9).standard_normal((1, 11, 4)).astype(np.float32)
    reach = measure_reach(layer, x, rng=np.random.default_rng(9))
    assert 0 < reach.norms[10] < 1e-25  # and its square is no number of float32


def test_a_recaller_s_gradient():
    model = Recaller(MIXERS["attention"], 8, 4, np.random.default_rng(0), np.float64)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (2, 4))
    gradcheck((model.forward, model.backward), ids, parameters=dict(model.named_parameters()),
              mode="fast").assert_ok()  # fmt: skip


TINY = ["--lengths", "4", "8", "--width", "4", "--distances", "1", "2", "--steps", "1"]


def test_the_command_prints_its_tables(capsys):
    assert main(["compare", *TINY, "--parameters", "300"]) == 0
    lines = capsys.readouterr().out.splitlines()
    firsts = [line.split(" ")[0] for line in lines]
    assert firsts.count("LSTM") == firsts.count("attention") == firsts.count("RNN") == 4
    (row,) = (line for line in lines if line.startswith("convolutions") and "places" in line)
    assert row.split()[-5:] == ["0", "0", "0", "17", "places"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lengths", "8"], "--lengths is 8 alone; expected two or more"),
        (["--width", "6"], "--width is 6; expected a multiple of 4"),
        (["--parameters", "10"], "--parameters is 10; expected at least 200"),
        (["--out", "nowhere/x.png"], "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused(words, said, capsys):
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["compare", *TINY, "--out", str(tmp_path / "x.png")]) == 1
    captured = capsys.readouterr()
    assert "npformer[cli]" in captured.err
    assert not captured.out
