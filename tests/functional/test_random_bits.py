"""Dropout's bits: the same whatever the tile, of the right rate, and independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import seeds

from npformer.functional._random_bits import kept
from npformer.masks import Span

N = 256  # bits are drawn N by N
WHOLE = Span(0, N, N)


def bits(seed=1, leads=(0,), rows=WHOLE, columns=WHOLE, rate=0.5):
    return kept(seed, np.array(leads, np.uint64), rows, columns, rate)


def correlation(a, b):
    """Of two arrays of bits, in standard deviations of what independent ones would have."""
    a, b = a - np.mean(a), b - np.mean(b)
    return np.mean(a * b) / (np.std(a) * np.std(b)) * np.sqrt(a.size)


def spans(total):
    return st.tuples(st.integers(0, total), st.integers(0, total)).map(
        lambda ends: Span(min(ends), max(ends), total)
    )


@given(st.integers(0, 2**64 - 1), spans(20), spans(30), st.floats(0, 0.99))
def test_a_tile_is_that_part_of_the_whole(seed, rows, columns, rate):
    leads = np.arange(6, dtype=np.uint64).reshape(2, 3)
    whole = kept(seed, leads, Span(0, 20, 20), Span(0, 30, 30), rate)
    assert whole.shape == (2, 3, 20, 30)
    tile = kept(seed, leads[1:, ::2], rows, columns, rate)
    part = whole[1:, ::2, rows.start : rows.stop, columns.start : columns.stop]
    np.testing.assert_array_equal(tile, part)


@given(seeds)
def test_other_sequence_lengths_have_the_same_bits(seed):
    """A bit depends on its own place, not on how many places there are."""
    whole = bits(seed)
    np.testing.assert_array_equal(
        bits(seed, rows=Span(3, 9, 10), columns=Span(0, 7, 7)), [whole[0][3:9, :7]]
    )


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_rate_within_five_sigma_in_the_whole_and_in_rows_and_columns(seed, rate):
    dropped = ~bits(seed, range(4), rate=rate)
    deviation = np.sqrt(rate * (1 - rate))
    for axes, count in ((None, dropped.size), ((0, 2), 4 * N), ((0, 1), 4 * N), ((1, 2), N * N)):
        worst = np.max(np.abs(np.mean(dropped, axis=axes) - rate))
        assert worst < 5 * deviation / np.sqrt(count)


def test_rate_zero_keeps_all_and_a_larger_rate_drops_more_of_the_same():
    assert bits(rate=0.0).all()
    few, many = bits(rate=0.2), bits(rate=0.6)
    assert np.all(few | ~many)
    assert np.mean(bits(rate=1 - 2.0**-40)) < 1e-4


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("lag", [1, 2, 16, 128])
def test_rows_and_columns_are_independent(lag, rate):
    (keep,) = bits(rate=rate)
    assert abs(correlation(keep[lag:], keep[:-lag])) < 5
    assert abs(correlation(keep[:, lag:], keep[:, :-lag])) < 5
    assert abs(correlation(keep[lag:, lag:], keep[:-lag, :-lag])) < 5
    assert abs(correlation(keep[lag:, :-lag], keep[:-lag, lag:])) < 5


def test_no_row_is_a_shifted_copy_of_another():
    """No 64 bits that are neighbours in a row occur again, there or anywhere in 2^13 rows."""
    (keep,) = bits(rows=Span(0, 2**13, 2**13))
    windows = keep.astype(np.uint64)  # doubled until each entry holds 64 bits
    for width in (1, 2, 4, 8, 16, 32):
        windows = windows[:, :-width] << np.uint64(width) | windows[:, width:]
    assert len(np.unique(windows)) == windows.size


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("step", [1, 2, 64, 2**32])
def test_neighbouring_leads_and_seeds_are_independent(seed, step):
    (keep,) = bits(seed)
    for (other,) in (bits(seed, [step]), bits(seed + step), bits(seed + 2**63)):
        assert abs(correlation(keep, other)) < 5
        assert abs(correlation(keep, np.roll(other, 1, axis=0))) < 5
        assert abs(correlation(keep, np.roll(other, 1, axis=1))) < 5
        assert abs(correlation(keep, other.T)) < 5


def test_the_next_seed_is_not_the_next_lead():
    """The heads of one layer must not have the bits of another layer's neighbouring heads."""
    (this,) = bits(7, [1])
    for seed, lead in ((8, 0), (6, 2)):
        (other,) = bits(seed, [lead])
        assert abs(correlation(this, other)) < 5


def test_three_neighbours_together_are_independent():
    (keep,) = bits()
    odd = keep[1:, 1:] ^ keep[:-1, 1:]
    assert abs(correlation(odd, keep[1:, :-1])) < 5
    assert abs(correlation(odd, keep[:-1, :-1])) < 5


def test_no_entries():
    assert bits(rows=Span(2, 2, 5)).shape == (1, 0, N)
    assert kept(0, np.zeros((0, 2), np.uint64), Span(0, 3, 3), Span(0, 4, 4), 0.5).size == 0
