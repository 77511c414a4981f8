"""Tokens that may not be written: they are not, and all else is as it would be."""

import numpy as np
import pytest
from generation.small_models import Table, made, start_of

from npformer.generation import beam_search, generate
from npformer.models import GPT, Transformer

VOCAB = 7
PROMPT = np.array([[1, 2], [5, 3]])


def greedy(model, steps, banned):
    """The best of what is left, by a plain loop."""
    rows = []
    for row in PROMPT:
        ids, written = list(row), []
        for _ in range(steps):
            logits = model(np.array([ids]))[0, -1].copy()
            logits[list(banned(written))] = -np.inf
            written.append(int(np.argmax(logits)))
            ids.append(written[-1])
        rows.append(written)
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_greedy_takes_the_best_of_what_is_left(seed):
    model = Table.drawn(seed, VOCAB)
    free = generate(model, PROMPT, 5, temperature=0)[:, 2:].tolist()
    forbid = sorted({free[0][0], free[1][1]})
    got = generate(model, PROMPT, 5, temperature=0, forbid=forbid)[:, 2:].tolist()
    assert got == greedy(model, 5, lambda written: forbid) != free
    beams = beam_search(model, PROMPT, 5, num_beams=1, forbid=forbid)
    assert beams.best[:, 2:].tolist() == got


def test_a_function_forbids_by_what_was_written():
    model = Table.drawn(0, VOCAB)
    asked = []

    def forbid(written):
        asked.append(written.shape)
        banned = np.zeros((len(written), VOCAB), bool)
        for row, before in zip(banned, written, strict=True):
            row[before] = True  # nothing twice
        return banned

    got = generate(model, PROMPT, 6, temperature=0, forbid=forbid)[:, 2:].tolist()
    assert asked == [(2, n) for n in range(6)]
    assert got == greedy(model, 6, lambda written: written)
    assert all(len(set(row)) == 6 for row in got)
    best = beam_search(model, PROMPT, 6, num_beams=3, forbid=forbid).best[:, 2:].tolist()
    assert all(len(set(row)) == 6 for row in best)


@pytest.mark.parametrize("kind", [GPT, Transformer])
def test_what_is_forbidden_is_never_drawn_nor_found(kind):
    model = made(kind)
    options = {**start_of(model), "forbid": [2, 4, 6]}
    drawn = generate(model, PROMPT, 6, rng=np.random.default_rng(0), **options)
    found = beam_search(model, PROMPT, 6, num_beams=3, **options).ids
    skip = 0 if kind is Transformer else 2
    assert not np.isin(drawn[:, skip:], [2, 4, 6]).any()
    assert not np.isin(found[..., skip:], [2, 4, 6]).any()


def test_beams_keep_the_probabilities_that_they_have():
    """As if all were searched, and texts with forbidden tokens struck out."""
    model = Table.drawn(1, VOCAB)
    every = beam_search(model, PROMPT, 3, num_beams=VOCAB**3, length_penalty=0)
    some = beam_search(model, PROMPT, 3, num_beams=6**3, length_penalty=0, forbid=3)
    for b in range(2):
        left = ~(every.ids[b, :, 2:] == 3).any(axis=-1)
        np.testing.assert_array_equal(some.ids[b], every.ids[b][left])
        np.testing.assert_allclose(some.log_probs[b], every.log_probs[b][left], rtol=1e-12)


@pytest.mark.parametrize("write", [generate, beam_search])
@pytest.mark.parametrize(
    ("forbid", "error", "said"),
    [
        ("a", TypeError, "forbid is 'a'; expected a token id, or several"),
        ([[1]], ValueError, "several in a flat list"),
        (VOCAB, ValueError, "forbid is 7; expected 0 to 6"),
        ([1, -1], ValueError, "forbid holds -1; expected 0 to 6"),
        (range(VOCAB), ValueError, "forbid leaves no token that could be written"),
        (lambda written: [0], TypeError, "forbid returned a list"),
        (lambda written: np.zeros(3, bool), ValueError, r"returned \(3,\); expected \(2, 7\)"),
    ],
)
def test_what_makes_no_sense_is_refused(write, forbid, error, said):
    with pytest.raises(error, match=said):
        write(
            made(GPT), PROMPT, 3, forbid=forbid, **({} if write is generate else {"num_beams": 2})
        )


def test_a_function_may_not_write_into_what_it_is_shown():
    def forbid(written):
        written[...] = 0

    with pytest.raises(ValueError, match="read-only"):
        generate(made(GPT), PROMPT, 3, forbid=lambda w: forbid(w))
