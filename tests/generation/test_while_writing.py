"""What can be asked for while a model writes: penalties, ends, and a look at each token."""

import numpy as np
import pytest
from generation.small_models import Table, made, padded, start_of
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import normal, seeds

from npformer.generation import generate, penalise_repeats
from npformer.models import GPT, Transformer

KINDS = pytest.mark.parametrize("kind", [GPT, Transformer])


@given(seeds, st.floats(0.1, 10))
def test_repeats_are_penalised_whatever_their_sign(seed, penalty):
    logits = normal(seed, 3, 6)
    there = np.random.default_rng(seed).random((3, 6)) < 0.5
    before = logits.copy()
    got = penalise_repeats(logits, there, penalty)
    for index in np.ndindex(3, 6):
        z = logits[index]
        wanted = z if not there[index] else z / penalty if z > 0 else z * penalty
        assert got[index] == wanted
    np.testing.assert_array_equal(logits, before)
    changed = (got < logits) if penalty > 1 else (got > logits)
    assert np.all(changed[there]) or penalty == 1


def test_a_penalty_may_drive_logits_beyond_what_a_float_holds():
    got = penalise_repeats(np.array([[-1e300, 1.0, -np.inf]]), np.full((1, 3), True), 1e300)
    np.testing.assert_array_equal(got, [[-np.inf, 1e-300, -np.inf]])


@pytest.mark.parametrize("use_cache", [True, False])
@KINDS
def test_what_stands_there_already_is_penalised(kind, use_cache):
    """Prompt and answer count, padding and the start token do not."""
    model = made(kind, "rotary")
    ids, mask = padded(np.random.default_rng(3), 3, 4)
    out = generate(
        model,
        ids,
        6,
        mask=mask,
        temperature=0,
        repetition_penalty=1.7,
        use_cache=use_cache,
        **start_of(model),
    )
    new = out[:, -6:]
    for b in range(3):
        prompt = [] if kind is Transformer else ids[b, mask[b]].tolist()
        for t in range(6):
            written = new[b, :t].tolist()
            if kind is Transformer:
                logits = model(ids[b, mask[b]][None], np.array([[0, *written]]))[0, -1]
            else:
                logits = model(np.array([prompt + written]))[0, -1]
            there = sorted({*prompt, *written})
            z = logits[there]
            logits[there] = np.where(z > 0, z / 1.7, z * 1.7)
            assert new[b, t] == np.argmax(logits)


def test_a_great_penalty_writes_each_token_once():
    model = Table(-1 - np.random.default_rng(0).random((7, 7, 7)))
    out = generate(model, np.array([[1, 3]]), 5, temperature=0, repetition_penalty=1e6)
    assert sorted(out[0].tolist()) == [*range(7)]


@KINDS
def test_a_stop_function_sees_what_is_written(kind):
    model, seen = made(kind), []
    ids = np.array([[1, 2, 3], [3, 2, 1]])

    def stop(written):
        seen.append(written.copy())
        assert not written.flags.writeable
        return np.array([written.shape[1] >= 2, written.shape[1] >= 4])

    out = generate(model, ids, 8, temperature=0, stop=stop, **start_of(model))[:, -4:]
    free = generate(model, ids, 4, temperature=0, **start_of(model))[:, -4:]
    np.testing.assert_array_equal(out[1], free[1])
    np.testing.assert_array_equal(out[0], [*free[0, :2], free[0, 1], free[0, 1]])
    assert len(seen) == 4
    for t, written in enumerate(seen, start=1):
        np.testing.assert_array_equal(written, out[:, :t])


def test_a_row_that_has_ended_stays_so():
    def stop(written):
        return np.array([written.shape[1] == 1, False])

    out = generate(made(GPT), np.array([[1], [2]]), 5, temperature=0, stop=stop)
    assert np.all(out[0, 1:] == out[0, 1])
    assert out.shape == (2, 6)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (True, TypeError, r"stop returned .*; expected a bool array \(2,\)"),
        (np.zeros(2), TypeError, "expected a bool array"),
        (np.zeros(3, bool), ValueError, r"stop returned \(3,\); expected \(2,\)"),
    ],
)
def test_a_stop_function_must_answer_for_each_row(answer, error, said):
    with pytest.raises(error, match=said):
        generate(made(GPT), np.array([[1], [2]]), 5, stop=lambda written: answer)


@KINDS
def test_each_token_is_handed_over(kind):
    model, streamed = made(kind), []
    ids = np.array([[1, 2, 3], [3, 2, 1]])

    def on_token(tokens):
        assert tokens.dtype == np.int64
        streamed.append(tokens.copy())
        tokens[:] = 0  # its own array
        return True  # not looked at

    options = {"temperature": 1.0, "stop": [4], **start_of(model)}
    out = generate(model, ids, 6, on_token=on_token, rng=np.random.default_rng(0), **options)
    quiet = generate(model, ids, 6, rng=np.random.default_rng(0), **options)
    np.testing.assert_array_equal(out, quiet)
    streamed = np.stack(streamed, axis=1)
    np.testing.assert_array_equal(streamed, out[:, -streamed.shape[1] :])


def test_an_error_of_the_callback_reaches_the_caller():
    model = Table.drawn(0, 4)

    def on_token(tokens):
        if model.calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(model, np.array([[0]]), 9, on_token=on_token)
    assert model.calls == 3


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"repetition_penalty": 0.0}, ValueError, "repetition_penalty is 0.0; expected a positive"),
        ({"repetition_penalty": -1.0}, ValueError, "repetition_penalty is -1.0"),
        ({"repetition_penalty": np.inf}, ValueError, "repetition_penalty is inf"),
        ({"repetition_penalty": np.nan}, ValueError, "repetition_penalty is nan"),
        ({"repetition_penalty": "2"}, TypeError, "repetition_penalty is '2'"),
        ({"repetition_penalty": True}, TypeError, "repetition_penalty is True"),
        ({"on_token": 3}, TypeError, "on_token is .*; expected a function"),
        ({"use_cache": None}, TypeError, "use_cache is None; expected True or False"),
        ({"mask": np.array([[1, 1]])}, TypeError, r"mask is .*convert ones and zeros"),
        ({"stop": "end"}, TypeError, "stop is 'end'; expected a token id, or several, or a func"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, error, said):
    model = Table.drawn(0, 4)
    arguments = {"ids": np.array([[1, 2]]), "max_new_tokens": 3, **options}
    with pytest.raises(error, match=said):
        generate(model, **arguments)
    assert model.calls == 0


@pytest.mark.parametrize(
    ("logits", "there", "error", "said"),
    [
        (np.zeros((1, 3)), np.zeros((1, 2), bool), ValueError, "expected the shape of logits"),
        (np.zeros((1, 3)), np.zeros((1, 3)), TypeError, "expected a bool array"),
        (np.zeros((1, 3), int), np.zeros((1, 3), bool), TypeError, "logits"),
    ],
)
def test_a_penalty_needs_to_know_what_stands_there(logits, there, error, said):
    with pytest.raises(error, match=said):
        penalise_repeats(logits, there, 1.2)
