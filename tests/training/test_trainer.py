"""Trainer.step: exact accumulation, seeds, what stops it, what it refuses."""

import dataclasses
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import seeds
from training.small_model import Inseparable, Small, batch, everything, small

from npformer import Parameter, Run, models
from npformer.core import NonFiniteError
from npformer.core.initialize import skeleton
from npformer.layers import Dropout
from npformer.training import SGD, AdamW, Trainer, schedules
from npformer.training.shards import rows_of, split


def trainer(model=None, optimizer=SGD, seed=1, lr=0.1, **options):
    model = small() if model is None else model
    rng = np.random.default_rng(seed)
    return Trainer(model, optimizer(model.parameters(), lr), rng=rng, **options)


def values(model):
    return [p.value.copy() for p in model.parameters()]


@given(st.integers(1, 40), st.integers(1, 12))
def test_parts_cover_the_rows_in_order_and_none_is_empty(rows, parts):
    pieces = split(range(rows), parts)
    assert [row for piece in pieces for row in piece] == list(range(rows))
    sizes = [len(piece) for piece in pieces]
    assert len(sizes) == min(rows, parts)
    assert max(sizes) - min(sizes) <= 1
    x = np.arange(rows)
    assert all(np.shares_memory(rows_of((x, None), piece)[0], x) for piece in pieces)


def test_a_step_is_zero_grad_loss_backward_and_update():
    model, twin, (x, targets) = small(dropout=0.0), small(dropout=0.0), batch()
    t = trainer(model, lr=0.5)
    for parameter in model.parameters():
        parameter.grad += 7.0  # of an earlier pass: has to go
    want, saved = twin.loss(x, targets)
    twin.loss_backward(saved)
    assert t.step(x, targets) == float(want)
    assert t.steps == t.optimizer.steps == 1
    for stepped, start in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(stepped.value, start.value - np.float32(0.5) * start.grad)


@given(
    seed=seeds,
    rows=st.integers(1, 17),
    accumulate=st.integers(1, 5),
    workers=st.integers(1, 4),
    counted=st.integers(0, 17),
)
def test_however_a_batch_is_split_loss_and_step_are_those_of_the_whole(
    seed, rows, accumulate, workers, counted
):
    x, targets = batch(seed, rows, np.float64, min(counted, rows))
    whole, parts = small(dropout=0.0, dtype=np.float64), small(dropout=0.0, dtype=np.float64)
    evaluated = trainer(parts, accumulate=accumulate).evaluate(x, targets)
    want = trainer(whole).step(x, targets)
    split_trainer = trainer(parts, accumulate=accumulate, workers=workers)
    assert split_trainer.step(x, targets) == pytest.approx(want, rel=1e-13, abs=1e-15)
    assert evaluated == pytest.approx(want, rel=1e-13, abs=1e-15)
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(a.value, b.value, rtol=1e-13, atol=1e-15)


def test_a_mean_of_means_would_have_been_another_loss():
    x, targets = batch(3, 12, np.float64, counted=7)  # 6 rows: 1 counts; 6 rows: all do
    model = small(dropout=0.0, dtype=np.float64)
    halves = [float(model.loss(x[part], targets[part])[0]) for part in (slice(6), slice(6, 12))]
    loss = trainer(model, accumulate=2).step(x, targets)
    assert loss == pytest.approx((1 * halves[0] + 6 * halves[1]) / 7, rel=1e-13)
    assert abs(loss - sum(halves) / 2) > 1e-3


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"workers": 3, "accumulate": 2}])
def test_a_run_repeats_to_the_bit(options):
    runs = []
    for _ in range(2):
        t = trainer(optimizer=AdamW, clip_norm=1.0, **options)
        losses = [t.step(*batch(step, 11, counted=9)) for step in range(4)]
        runs.append((losses, everything(t)))
    assert runs[0] == runs[1]


def test_each_shard_of_each_step_draws_one_seed_and_dropout_acts():
    x, targets = batch(0, 8)
    model, twin = small(dropout=0.5), small(dropout=0.5)
    t = trainer(model, seed=5, lr=0.0, accumulate=2, workers=2)
    loss = t.step(x, targets)
    rng = np.random.default_rng(5)
    expected = [int(rng.integers(2**63 - 1)) for _ in range(4)]
    assert rng.bit_generator.state == t.rng.bit_generator.state
    parts = [
        twin.loss(x[i : i + 2], targets[i : i + 2], run=Run(np.random.default_rng(seed)))[0]
        for i, seed in zip(range(0, 8, 2), expected, strict=True)
    ]
    assert loss == pytest.approx(np.mean(parts), rel=1e-6)
    assert t.step(x, targets) != loss
    assert t.evaluate(x, targets) == pytest.approx(float(model.loss(x, targets)[0]), rel=1e-6)


def seeds_drawn(t, *rows):
    """How many shards a step has: each draws one seed."""
    rng = np.random.default_rng()
    rng.bit_generator.state = t.rng.bit_generator.state
    t.step(*rows)
    for drawn in range(99):
        if rng.bit_generator.state == t.rng.bit_generator.state:
            return drawn
        rng.integers(2**63 - 1)
    raise AssertionError("more than 99")


@pytest.fixture
def _two_threads(monkeypatch):
    monkeypatch.setattr("npformer.training.trainer.can_spread", lambda: True)
    monkeypatch.setattr("npformer.training.trainer.num_threads", lambda: 2)


@pytest.mark.usefixtures("_two_threads")
def test_the_automatic_number_of_shards_is_of_each_batch_and_of_its_shapes(monkeypatch):
    monkeypatch.setattr("npformer.training.trainer._LEAST_WORK", 500)  # 64 parameters, 8 rows
    t = trainer()
    for rows, counted, shards in [
        (1, 1, 1), (12, 0, 2), (12, 12, 2), (6, 6, 1), (12, 1, 2), (8, 8, 2),
    ]:  # fmt: skip
        assert seeds_drawn(t, *batch(0, rows, counted=counted)) == shards, (rows, counted)
    assert seeds_drawn(trainer(accumulate=2), *batch(0, 12)) == 2  # 6 rows each
    assert seeds_drawn(trainer(accumulate=2), *batch(0, 16)) == 4
    assert seeds_drawn(trainer(small(model=Inseparable)), *batch(0, 12)) == 1


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize(
    ("width", "rows", "shards"), [(128, 12, 2), (16, 12, 1), (128, 1, 1), (768, 4, 1)]
)
def test_only_work_that_pays_for_the_threads_is_shared(width, rows, shards):
    config = models.GPTConfig(65, 64, width, 4, 12 if width == 768 else 4)
    with skeleton():
        model = models.GPT(config)
    ids = np.zeros((rows, 64), int)
    assert trainer(model)._shards((ids, ids), rows) == shards


def test_what_is_changed_on_the_model_between_steps_holds_in_every_shard():
    def changed(model):
        model.layers[0].rate = 0.0
        model.config = dataclasses.replace(model.config, dropout=0.0)
        model.w1 = model.w0  # tied

    class Layered(Small):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.w0 = Parameter(self.w1.value + 1)
            self.layers = [Dropout(0.5)]

        def loss(self, x, targets, *, run=None):
            return super().loss(self.layers[0].forward(x, run=run)[0], targets, run=run)

    x, targets = batch()
    used, fresh = (trainer(small(model=Layered), workers=3, lr=0.0) for _ in range(2))
    used.step(x, targets)
    changed(used.model)
    changed(fresh.model)
    assert used.step(x, targets) == fresh.step(x, targets)
    assert used.norm == fresh.norm
    assert used.model.w0.grad.any()
    want = float(fresh.model.loss(x, targets)[0])
    assert fresh.step(x, targets) == pytest.approx(want, rel=1e-6)


def test_replicas_and_their_gradients_are_kept_while_nothing_changes():
    t = trainer(workers=3)
    t.step(*batch())
    first = t._replicas._made
    grads = [p.grad for replica in first for p in replica.parameters()]
    t.model.w1.value = t.model.w1.value.copy()  # shared with replicas by the parameter
    t.model.b1.trainable = False
    t.step(*batch())
    assert len(first) == 2
    assert t._replicas._made is first
    again = [p.grad for replica in first for p in replica.parameters()]
    assert all(map(operator.is_, again, grads))


def test_what_lists_and_dicts_hold_is_looked_at_as_well():
    model = small()
    model.notes = {"list": [1.5, "x", None]}
    model.again = model.notes
    t = trainer(model, workers=2)
    t.step(*batch())
    first = t._replicas._made
    t.step(*batch())
    assert t._replicas._made is first
    model.notes["list"][0] = 2.5
    t.step(*batch())
    assert t._replicas._made is not first


def test_without_a_generator_dropout_still_acts():
    model = small(dropout=0.5)
    t = Trainer(model, SGD(model.parameters(), 0.0))
    x, targets = batch(0, 50)
    assert t.step(x, targets) != t.step(x, targets)


def test_the_schedule_gives_the_learning_rate_of_every_step():
    asked = []

    def schedule(step):
        asked.append(step)
        return np.float64(0.1 * step)

    t = trainer(schedule=schedule)
    before = values(t.model)
    t.step(*batch())
    assert all(map(np.array_equal, values(t.model), before))  # the rate of step 0 is 0
    t.step(*batch())
    assert not all(map(np.array_equal, values(t.model), before))
    assert asked == [0, 1]
    assert t.optimizer.lr == 0.1
    assert all(p.value.dtype == np.float32 for p in t.model.parameters())


def test_clipping_is_by_the_common_norm():
    before = small(dropout=0.0).state_dict()
    models = small(dropout=0.0), small(dropout=0.0)
    free, clipped = (
        Trainer(model, SGD(model.parameters(), 0.1), clip_norm=limit)
        for model, limit in zip(models, (None, 1e-3), strict=True)
    )
    assert math.isnan(free.norm)
    for t in (free, clipped):
        t.step(*batch())
    assert clipped.norm == free.norm > 1e-3
    for (name, a), (_, b) in zip(*(m.named_parameters() for m in models), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)  # scaled on the way to the values alone
        shorter = 1e-3 / free.norm * a.grad
        np.testing.assert_allclose(before[name] - a.value, 0.1 * a.grad, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(before[name] - b.value, 0.1 * shorter, rtol=1e-3, atol=1e-7)


def test_parameters_left_out_or_frozen_stay():
    model = small()
    model.b1.trainable = False
    t = Trainer(model, SGD([model.w1, model.b1], 0.1), workers=2)
    before = model.state_dict()
    t.step(*batch())
    changed = [n for n, v in model.state_dict().items() if not np.array_equal(v, before[n])]
    assert changed == ["w1"]
    assert not model.b1.grad.any()


def test_a_batch_where_nothing_counts_has_loss_and_gradient_zero():
    for options in ({}, {"accumulate": 2}):
        t = trainer(**options)
        before = values(t.model)
        assert t.step(*batch(counted=0)) == t.evaluate(*batch(counted=0)) == 0.0
        assert all(map(np.array_equal, values(t.model), before))


def test_it_learns():
    x, targets = batch(0, 30)
    t = trainer(small(dropout=0.1), AdamW, lr=0.05, schedule=schedules.constant(0.05))
    first = t.evaluate(x, targets)
    for _ in range(150):
        t.step(x, targets)
    assert t.evaluate(x, targets) < 0.2 * first


class Spoilt(Small):
    """A model whose loss, or gradient, is spoilt on demand."""

    spoil = ""

    def loss(self, x, targets, *, run=None):
        loss, saved = super().loss(x, targets, run=run)
        return (loss * np.float32("nan") if self.spoil == "loss" else loss), saved

    def loss_backward(self, saved, dloss=1.0):
        super().loss_backward(saved, dloss)
        if self.spoil == "gradient":
            self.w2.grad[0, :2] = np.inf


@pytest.mark.parametrize("options", [{}, {"workers": 2, "clip_norm": 1.0}])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("loss", "step 2: the loss is nan; the parameters are as they were .* Lower the learning"),
        ("gradient", r"step 2: the norm of .* parameter w2 \(3, 8\), where 2 of 24 entries"),
    ],
)
def test_what_is_not_finite_stops_the_step_and_changes_nothing(spoil, said, options):
    t = trainer(small(model=Spoilt), AdamW, schedule=lambda step: 0.1 / (step + 1), **options)
    for _ in range(2):
        t.step(*batch())
    before = everything(t)
    t.model.spoil = spoil
    with pytest.raises(NonFiniteError, match=said):
        t.step(*batch())
    after = everything(t)
    assert [a == b for a, b in zip(after, before, strict=True)] == [True] * 5 + [False, True]
    t.model.spoil = ""
    t.step(*batch())
    assert t.steps == 3


def test_a_loss_that_cannot_be_split_is_never_split():
    x, targets = batch()
    whole = trainer(small(model=Inseparable))
    assert whole.step(x, targets) > 0
    for options in ({"accumulate": 2}, {"workers": 2}):
        t = trainer(small(model=Inseparable), **options)
        before = everything(t)
        with pytest.raises(
            ValueError, match=r"loss of Inseparable is not a mean over parts .* sma"
        ):
            t.step(x, targets)
        assert everything(t) == before
        assert t.evaluate(x, targets) == float(t.model.loss(x, targets)[0])


def test_a_weight_that_is_none_of_the_kinds_is_refused():
    class Odd(Small):
        def loss_weight(self, x, targets):
            return 0.5

    with pytest.raises(TypeError, match=r"Odd.loss_weight returned 0.5; expected the number of"):
        trainer(small(model=Odd), accumulate=2).step(*batch())


X, TARGETS = batch()


@pytest.mark.parametrize(
    ("given_batch", "error", "said"),
    [
        ((), ValueError, r"the batch is empty, its shapes are \[\]; expected at least one row"),
        ((None, None), ValueError, r"the batch is empty, its shapes are \[None, None\]"),
        ((X[:0], TARGETS[:0]), ValueError, r"the batch is empty, its shapes are \[\(0, 4\), \(0,"),
        ((X, TARGETS[:5]), ValueError, r"first axes of the batch differ, \{0: 12, 1: 5\}.*broad"),
        ((X.tolist(), TARGETS), TypeError, r"batch\[0\] is a list; expected an ndarray or None, s"),
        ((X, np.array(3)), ValueError, r"batch\[1\] is int64 \(\); expected a first axis"),
    ],
)
def test_a_bad_batch_is_refused_before_any_work(given_batch, error, said):
    t = trainer()
    before = everything(t)
    for method in (t.step, t.evaluate):
        with pytest.raises(error, match=said):
            method(*given_batch)
    assert everything(t) == before


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf])
def test_a_schedule_that_gives_no_rate_is_refused_before_any_work(rate):
    t = trainer(schedule=lambda step: rate)
    before = everything(t)
    with pytest.raises(ValueError, match=r"schedule\(0\) is .*; expected 0 <= schedule\(0\) < inf"):
        t.step(X, TARGETS)
    assert everything(t) == before


MODEL = small()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": object()}, TypeError, "model is an object without the method loss; .* Model"),
        ({"optimizer": "adam"}, TypeError, "optimizer is a str; expected an Optimizer, such as"),
        ({"optimizer": SGD(small().parameters())}, ValueError, r"parameters\[0\] \(8, 4\) is not"),
        ({"schedule": 1e-3}, TypeError, "schedule is 0.001; expected a function from step number"),
        ({"rng": 0}, TypeError, r"rng is 0; expected a numpy.random.Generator, such as np.random."),
        ({"clip_norm": 0}, ValueError, "clip_norm is 0.0; expected 0 < clip_norm < inf"),
        ({"accumulate": 0}, ValueError, "accumulate is 0; expected a positive int"),
        ({"workers": "all"}, TypeError, "workers is 'all'; expected a positive int"),
        ({"workers": 0}, ValueError, "workers is 0; expected a positive int"),
    ],
)
def test_bad_arguments_are_refused_with_the_remedy(options, error, said):
    options = {"model": MODEL, "optimizer": SGD(MODEL.parameters()), **options}
    with pytest.raises(error, match=said):
        Trainer(options.pop("model"), options.pop("optimizer"), **options)


def test_logits_that_overflow_stop_the_step_by_its_number():
    config = models.GPTConfig(5, 4, 4, 1, 1, tie_embeddings=False)
    model = models.GPT(config, rng=np.random.default_rng(0))
    model.head.weight.value[...] = 3e38
    ids = np.array([[1, 2, 3]])
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step 0: the loss is not"):
        Trainer(model, AdamW(model.parameters())).step(ids, ids)


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        ("accumulate", 0, ValueError, "accumulate is 0; expected a positive int"),
        ("accumulate", 1.5, TypeError, "accumulate is 1.5; expected a positive int"),
        ("workers", 0, ValueError, "workers is 0; expected a positive int"),
        ("workers", None, TypeError, "workers is None; expected a positive int"),
        ("threads", 0, ValueError, "threads is 0; expected a positive int"),
        ("clip_norm", math.nan, ValueError, "clip_norm is nan; expected 0 < clip_norm < inf"),
        ("clip_norm", -1, ValueError, "clip_norm is -1.0; expected 0 < clip_norm < inf"),
        ("rng", None, TypeError, "rng is None; expected a numpy.random.Generator, such as np"),
        ("schedule", 3, TypeError, "schedule is 3; expected a function from step number"),
    ],
)
def test_a_setting_that_was_changed_to_nonsense_is_refused(tmp_path, name, value, error, said):
    t = trainer(optimizer=AdamW)
    t.step(*batch())
    before, good = everything(t), getattr(t, name)
    setattr(t, name, value)
    for method, arguments in [
        ("step", batch()), ("evaluate", batch()), ("save", [tmp_path / "c"]), ("load", ["c"]),
    ]:  # fmt: skip
        with pytest.raises(error, match=f"^Trainer.{method}: {said}"):
            getattr(t, method)(*arguments)
    setattr(t, name, good)
    assert everything(t) == before


def test_numbers_of_numpy_are_settings(tmp_path):
    t = trainer(accumulate=np.int64(2), workers=np.int32(1), clip_norm=np.float32(1))
    t.accumulate = np.int64(3)
    t.save(tmp_path / "c")
    assert [type(x) for x in (t.accumulate, t.workers, t.clip_norm)] == [int, int, float]


@pytest.mark.skipif(not hasattr(Exception, "add_note"), reason="Python 3.11 and later")
@pytest.mark.parametrize(
    ("options", "method", "rows", "said"),
    [
        ({"workers": 2}, "step", 8, "in rows 4 to 7 of the batch, counted from 0"),
        ({"accumulate": 2}, "step", 8, "in rows 4 to 7 of the batch, counted from 0"),
        ({"accumulate": 2}, "evaluate", 8, "in rows 4 to 7 of the batch, counted from 0"),
        ({"workers": 8}, "step", 8, "in row 7 of the batch, counted from 0"),
        ({}, "step", 8, None),
        ({}, "evaluate", 8, None),
    ],
)
def test_an_error_in_a_shard_says_which_rows_it_speaks_of(options, method, rows, said):
    model = models.GPT(models.GPTConfig(5, 4, 4, 1, 1), rng=np.random.default_rng(0))
    ids = np.ones((rows, 2), int)
    ids[-1, 0] = 5
    with pytest.raises(ValueError, match=r"ids\[\d, 0\]") as caught:
        getattr(trainer(model, **options), method)(ids, np.ones_like(ids))
    assert getattr(caught.value, "__notes__", [None]) == [said]
