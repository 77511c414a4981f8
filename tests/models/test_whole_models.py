"""Every model as a whole: the gradient, the loss, training, sharding, state, options."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.models import CASES, OPTIONS, SIZES, VOCAB, batch, build, fields, trained
from support.passes import assert_close, parameter_gradients

from npformer import Run
from npformer.layers import Dropout, FeedForward, MultiHeadAttention, RMSNorm
from npformer.models import BERT, GPT, Transformer, Whisper
from npformer.training import AdamW

KINDS = [GPT, Transformer, BERT, Whisper]
OF_ANY_NORM = [GPT, Transformer, BERT]  # and with biases or without
ENCODER_DECODERS = [Transformer, Whisper]
STACK = dict.fromkeys(KINDS, "decoder") | {BERT: "encoder"}  # the last one
every_case = pytest.mark.parametrize(("kind", "position"), CASES)


def parts(kind, *arguments, **options):
    """What forward is given, the targets, and what else the loss takes, of a batch."""
    inputs = batch(kind, *arguments, **options)
    count = 2 if kind in ENCODER_DECODERS else 1
    return inputs[:count], inputs[count], inputs[count + 1 :]


def logits(model, *arguments):
    return model.logits(model(*arguments)) if isinstance(model, BERT) else model(*arguments)


def loss_and_gradients(model, inputs, dloss=1.0, run=None):
    model.zero_grad()
    loss, saved = model.loss(*inputs, run=run)
    model.loss_backward(saved, dloss)
    return loss, parameter_gradients(model)


@every_case
@pytest.mark.parametrize("seed", [0, 1])
def test_a_directional_derivative_through_the_whole_model_with_dropout(kind, position, seed):
    """dL/dt at theta + t u is the gradient times u; the complex step knows it to the last bits.

    The same number added to all of a query's scores changes no probability, so that the gradient
    of a key's bias is zero but for rounding, unless rotation makes it depend on the position.
    """
    model, inputs = trained(kind, position, seed=seed, dropout=0.3), batch(kind, seed)
    rng, h = np.random.default_rng(seed), 1e-30
    _, gradients = loss_and_gradients(model, inputs, run=Run(np.random.default_rng(3)))
    parameters = {name: p for name, p in model.named_parameters() if p.trainable}
    direction = {name: rng.standard_normal(p.shape) for name, p in parameters.items()}
    for name, p in parameters.items():
        p.value = p.value + 1j * h * direction[name]
    loss, _ = model.loss(*inputs, run=Run(np.random.default_rng(3)))
    terms = {name: np.sum(gradients[name] * direction[name]) for name in parameters}
    assert sum(terms.values()) == pytest.approx(loss.imag / h, rel=1e-10, abs=1e-12)
    left_out = {name for name, term in terms.items() if term == 0}
    assert not {name for name in left_out if not name.endswith("k_proj.bias")}


@pytest.mark.parametrize("kind", KINDS)
def test_with_dropout_the_loss_is_another_but_the_same_for_the_same_seed(kind):
    model, inputs = trained(kind, dropout=0.3), batch(kind)
    a, b, c = (model.loss(*inputs, run=Run(np.random.default_rng(s)))[0] for s in (1, 1, 2))
    evaluation = model.loss(*inputs)[0]
    assert a == b
    assert len({a, c, evaluation}) == 3
    assert model.loss(*inputs, run=Run())[0] == evaluation


@every_case
@pytest.mark.parametrize("d_model", [16, 64])
def test_the_loss_at_the_start_is_that_of_a_guess(kind, position, d_model):
    """ln V, up to what the logits spread.

    A normalised stream has length sqrt(D), so that logits from a table of N(0, 0.02^2) have
    variance 0.0004 D, which costs about half of that; the mean over N targets strays from it by
    the deviation of a logit over sqrt(N).
    """
    model = build(kind, position, vocab_size=50, d_model=d_model)
    rng, variance = np.random.default_rng(1), 0.0004 * d_model
    inputs = list(rng.integers(0, 50, (3, 100, 8))[: 3 if kind in ENCODER_DECODERS else 2])
    if kind is Whisper:
        inputs[0] = rng.standard_normal((100, 3, 7))
    loss, _ = model.loss(*inputs)
    assert abs(loss - np.log(50) - variance / 2) < 5 * np.sqrt(variance / 800) + variance / 4


# Distances that count the same on both sides tell BERT's places apart only by what surrounds them,
# and that little by little: to learn by heart, they are no help.
@pytest.mark.parametrize(("kind", "position"), [c for c in CASES if c != (BERT, "alibi")])
def test_a_small_batch_is_learnt_by_heart(kind, position):
    """Each row has an answer of its own at each place, so that nothing but memory can give it."""
    model = build(kind, position, np.float32, d_model=32, d_ff=64, max_len=16)
    inputs, targets, _ = parts(kind, size=4, dtype=np.float32)
    if kind is GPT:
        inputs[0][:, 0] = range(4)  # a causal model tells rows apart by their first token
    wanted = np.zeros(VOCAB)
    wanted[0] = 1 - getattr(model.config, "label_smoothing", 0.0)
    wanted += (1 - wanted[0]) / VOCAB
    entropy = -np.sum(wanted * np.log(np.where(wanted, wanted, 1)))  # nothing can be below it
    optimizer = AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(200):
        loss, _ = loss_and_gradients(model, (*inputs, targets))
        if loss < entropy + 0.02:
            break
        optimizer.step()
    assert loss < entropy + 0.02
    answers = np.argmax(logits(model, *inputs), axis=-1)
    counted = targets != -100
    np.testing.assert_array_equal(answers[counted], targets[counted])


@every_case
def test_the_loss_of_a_batch_is_the_weighted_mean_of_its_shards(kind, position):
    """Whose counted targets are not equal in number; and so is its gradient."""
    model, inputs = trained(kind, position), batch(kind, size=5)
    weight = model.loss_weight(*inputs)
    assert weight == np.count_nonzero(parts(kind, size=5)[1] != -100)
    loss, gradients = loss_and_gradients(model, inputs)
    losses, sums, weights = 0.0, dict.fromkeys(gradients, 0.0), []
    for shard in (slice(0, 1), slice(1, 5)):
        part = [x[shard] for x in inputs]
        share = model.loss_weight(*part) / weight
        shard_loss, shard_gradients = loss_and_gradients(model, part, dloss=share)
        losses += share * shard_loss
        sums = {name: sums[name] + shard_gradients[name] for name in sums}
        weights.append(model.loss_weight(*part))
    assert sum(weights) == weight
    assert weights[0] * 4 != weights[1]
    assert losses == pytest.approx(loss, rel=1e-12)
    assert_close(sums, gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_in_threads_share_values_and_split_the_gradient(kind):
    model, inputs = trained(kind, "rotary"), batch(kind, size=4)
    _, want = loss_and_gradients(model, inputs)
    model.zero_grad()
    replicas = [model.replica() for _ in range(4)]

    def work(i):
        part = [x[i : i + 1] for x in inputs]
        share = model.loss_weight(*part) / model.loss_weight(*inputs)
        return loss_and_gradients(replicas[i], part, dloss=share)[1]

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(work, range(4)))
    assert_close({name: sum(share[name] for share in shares) for name in want}, want)
    assert not any(p.grad.any() for p in model.parameters())
    for p in model.parameters():
        p.value *= 1.5
    assert all(replica.loss(*inputs)[0] == model.loss(*inputs)[0] for replica in replicas)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_answers_has_no_loss_and_no_gradient(kind):
    inputs, targets, more = parts(kind)
    nothing = np.full_like(targets, -100)
    loss, gradients = loss_and_gradients(model := trained(kind), (*inputs, nothing, *more))
    assert loss == 0
    assert model.loss_weight(*inputs, nothing) == 0
    assert not any(g.any() for g in gradients.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_is_a_scalar_of_the_model_s_dtype_and_any_number_may_scale_it(kind, dtype):
    model, inputs = build(kind, dtype=dtype), batch(kind, dtype=dtype)
    loss, once = loss_and_gradients(model, inputs)
    assert type(loss) is dtype
    for two in (2, 2.0, np.float64(2), np.float32(2)):
        _, twice = loss_and_gradients(model, inputs, dloss=two)
        assert all(g.dtype == dtype for g in twice.values())
        assert_close(twice, {name: 2 * g for name, g in once.items()}, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tied_table_receives_the_sum_of_what_the_untied_ones_do(kind):
    tied, untied = trained(kind), build(kind, tie_embeddings=False)
    own = "head.decoder.weight" if kind is BERT else "head.weight"
    assert own not in tied.state_dict()
    table = next(name for name in tied.state_dict() if name.endswith("token.weight"))
    untied.load_state_dict(tied.state_dict() | {own: tied.state_dict()[table]})
    inputs = batch(kind)
    loss, gradients = loss_and_gradients(tied, inputs)
    loss_untied, apart = loss_and_gradients(untied, inputs)
    head = apart.pop(own)
    assert loss == loss_untied
    assert head.any()
    assert_close(gradients, apart | {table: apart[table] + head})


@every_case
def test_a_state_dict_makes_an_equal_model(kind, position):
    model, other, inputs = trained(kind, position), build(kind, position, seed=9), batch(kind)
    assert model.loss(*inputs)[0] != other.loss(*inputs)[0]
    other.load_state_dict(model.state_dict())
    assert model.loss(*inputs)[0] == other.loss(*inputs)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_model_is_refused_and_changes_nothing(kind):
    model, other = trained(kind), trained(kind, num_layers=1, d_ff=10)
    before = model.state_dict()
    with pytest.raises(ValueError, match=rf"does not fit {kind.__name__} \(nothing was") as caught:
        model.load_state_dict(other.state_dict())
    first, second = (f"{STACK[kind]}.layers.{i}.feed_forward.up.weight" for i in range(2))
    assert f"missing: {second} (12, 8)" in str(caught.value)
    assert f"{first} is (10, 8), expected (12, 8)" in str(caught.value)
    assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", OF_ANY_NORM)
@pytest.mark.parametrize("position", OPTIONS)
def test_bias_false_removes_every_bias(kind, position):
    with_bias, without = (set(build(kind, position, bias=b).state_dict()) for b in (True, False))
    assert without == {name for name in with_bias if not name.endswith("bias")}
    assert without != with_bias


@pytest.mark.parametrize("kind", OF_ANY_NORM)
def test_every_option_reaches_every_layer(kind):
    options = {"dropout": 0.35, "norm_eps": 0.07, "rotary_base": 77.0, "activation": "silu"}
    layers = [layer for _, layer in build(kind, "rotary", **options).named_layers()]

    def found(which, name):
        return {getattr(layer, name) for layer in layers if type(layer) is which}

    assert found(Dropout, "rate") == {0.35, 0.0}  # inside feed-forward layers there is none
    assert found(MultiHeadAttention, "dropout") == {0.35}
    assert found(MultiHeadAttention, "num_heads") == {4}
    assert found(MultiHeadAttention, "num_kv_heads") == {2}
    cross = {None} if kind is Transformer else set()  # across sequences there are no positions
    assert found(MultiHeadAttention, "rotary_base") == {77.0} | cross
    assert found(RMSNorm, "eps") == {0.07}
    assert found(FeedForward, "activation") == {"silu"}


@pytest.mark.parametrize("kind", OF_ANY_NORM)
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_pre_norm_ends_with_a_norm_and_post_norm_does_not(kind, norm):
    for where in ("pre", "post"):
        names = build(kind, norm=norm, norm_position=where).state_dict()
        assert (f"{STACK[kind]}.norm.weight" in names) == (where == "pre")
        if kind is Transformer:
            assert ("encoder.norm.weight" in names) == (where == "pre")


@every_case
def test_weights_start_small_and_what_ends_a_branch_smaller(kind, position):
    model = build(kind, position, d_model=64, d_ff=64, vocab_size=200, max_len=100, num_layers=3)
    for name, p in model.named_parameters():
        if not p.trainable:
            continue
        if p.value.ndim == 1:
            np.testing.assert_array_equal(p.value, float(name.endswith("weight")), name)
            continue
        ends_a_branch = name.endswith(("out_proj.weight", "down.weight"))
        std = 0.02 / np.sqrt(2 * 3) if ends_a_branch else 0.02
        if ".conv" in name:
            std = np.sqrt(2 / (p.value.shape[1] * p.value.shape[2]))
        np.testing.assert_allclose(p.value.std(), std, rtol=5 / np.sqrt(2 * p.value.size))
        np.testing.assert_allclose(p.value.mean(), 0, atol=5 * std / np.sqrt(p.value.size))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_model_and_no_seed_another(kind):
    a, b = (build(kind).state_dict() for _ in range(2))
    assert_close(a, b, rtol=0, atol=0)
    assert not np.array_equal(*(kind(build(kind).config).parameters()[0].value for _ in range(2)))


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_recorded_layer_by_layer_without_a_change(kind):
    model, arguments = trained(kind, "rotary"), parts(kind)[0]
    run = Run(record=["attention"])
    np.testing.assert_array_equal(model(*arguments, run=run), model(*arguments))
    named = run.named(model, "attention")
    names = [f"{STACK[kind]}.layers.{i}.self_attention" for i in range(2)]
    if kind in ENCODER_DECODERS:
        names = [f"encoder.layers.{i}.self_attention" for i in range(2)]
        for i in range(2):
            names += [f"decoder.layers.{i}.{which}_attention" for which in ("self", "cross")]
    assert [name for name, _ in named] == names
    for name, weights in named:
        assert weights.shape[:2] == (3, 4)
        assert_close(weights.sum(-1), np.ones(weights.shape[:-1]))
        if name.startswith("decoder") and name.endswith("self_attention"):
            assert not np.triu(weights, 1).any()


BAD_OPTIONS = [
    ({"d_model": 9}, ValueError, "d_model 9 is not divisible by num_heads 4"),
    ({"num_kv_heads": 3}, ValueError, "num_heads 4 is not divisible by num_kv_heads 3"),
    ({"vocab_size": 0}, ValueError, "vocab_size is 0; expected a positive int"),
    ({"num_layers": 1.5}, TypeError, "num_layers is 1.5; expected a positive int"),
    ({"max_len": None}, TypeError, "max_len is None; expected a positive int"),
    ({"d_ff": 0}, ValueError, "d_ff is 0; expected a positive int"),
    ({"dropout": 1.0}, ValueError, "dropout is 1.0; expected 0 <= dropout < 1"),
    ({"dropout": -0.1}, ValueError, "dropout is -0.1; expected 0 <= dropout < 1"),
    ({"norm": "batch"}, ValueError, "norm is 'batch'; expected one of layer, rms"),
    ({"norm_position": "mid"}, ValueError, "norm_position is 'mid'; expected one of pre, post"),
    ({"activation": "swish"}, ValueError, "activation is 'swish'; expected one of relu, gelu"),
    ({"position": "none"}, ValueError, "position is 'none'; expected one of learned, sinusoidal"),
    ({"norm_eps": 0}, ValueError, "norm_eps is 0; expected a positive number"),
    ({"norm_eps": "small"}, TypeError, "norm_eps is 'small'; expected a positive number"),
    ({"rotary_base": 0.0}, ValueError, "rotary_base is 0.0; expected a positive number"),
    (
        {"position": "sinusoidal", "d_model": 9, "num_heads": 3},
        ValueError,
        "sinusoidal positions go in pairs and the width is 9; choose d_model",
    ),
    (
        {"position": "rotary", "d_model": 12, "num_heads": 4},
        ValueError,
        "rotary positions go in pairs and the width is 3; choose d_model and num_heads",
    ),
]


BAD_FIELDS = [
    (kind, *bad) for kind in KINDS for bad in BAD_OPTIONS if bad[0].keys() <= fields(kind)
]


@pytest.mark.parametrize(("kind", "options", "error", "said"), BAD_FIELDS)
def test_a_configuration_that_cannot_be_built_is_refused(kind, options, error, said):
    with pytest.raises(error, match=f"{kind.__name__}Config: {said}"):
        kind.config_type(**SIZES | options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_frozen(kind):
    with pytest.raises(AttributeError, match="cannot assign to field"):
        build(kind).config.d_model = 16
