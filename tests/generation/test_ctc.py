"""ctc_greedy: what the best path spells, lengths, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import normal, seeds

from npformer.generation import ctc_greedy


def scores_of(paths, classes=4):
    """Scores whose best path is given."""
    return np.eye(classes)[np.array(paths)]


@pytest.mark.parametrize(
    ("path", "blank", "spelt"),
    [
        ([1, 1, 0, 1, 2], 0, [1, 1, 2]),
        ([0, 0, 0], 0, []),
        ([2, 2, 2], 0, [2]),
        ([2, 0, 0, 2], 0, [2, 2]),
        ([3, 1, 1, 0, 0], 3, [1, 0]),
        ([0, 3, 0, 0], 3, [0, 0]),
    ],
)
def test_repeats_are_merged_and_then_blanks_removed(path, blank, spelt):
    (got,) = ctc_greedy(scores_of([path]), np.array([len(path)]), blank)
    assert got.tolist() == spelt
    assert got.dtype == np.int64


@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 3), seeds)
def test_each_sample_is_decoded_alone_up_to_its_length(B, T, blank, seed):
    scores, rng = normal(seed, B, T, 4), np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, B)
    got = ctc_greedy(scores, lengths, blank)
    for sample, n, x in zip(got, lengths, scores, strict=True):
        path = x[:n].argmax(axis=-1).tolist()
        assert sample.tolist() == [k for k, _ in itertools.groupby(path) if k != blank]


def test_what_does_not_fit_is_refused():
    scores = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match=r"ctc_greedy: log_probs is \(3, 4\); expected \(batch, l"):
        ctc_greedy(scores[0], np.array([3]))
    with pytest.raises(ValueError, match=r"ctc_greedy: input_lengths\[1\] is 4; expected 1 to 3"):
        ctc_greedy(scores, np.array([3, 4]))
    with pytest.raises(ValueError, match=r"ctc_greedy: input_lengths is \(1,\); expected one for"):
        ctc_greedy(scores, np.array([3]))
    with pytest.raises(ValueError, match="ctc_greedy: blank is 4; expected 0 to 3"):
        ctc_greedy(scores, np.array([3, 3]), 4)
    with pytest.raises(TypeError, match=r"ctc_greedy: log_probs is int64 \(2, 3, 4\); expected"):
        ctc_greedy(scores.astype(np.int64), np.array([3, 3]))
    with pytest.raises(TypeError, match=r"ctc_greedy: input_lengths is a list; expected a NumPy"):
        ctc_greedy(scores, [3, 3])
