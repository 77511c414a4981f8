"""Wrong gradients of layers: in what they do themselves, and in how they use their parts."""

import numpy as np
from verify.cases import Case, method, of_catalogue, parameter, right

import npformer.functional as F
from npformer import Layer, Parameter, Run
from npformer.biases import buckets
from npformer.catalogue import Example

LAYERS = {}


def case(name, which, spoil, *families):
    subject = name.partition(":")[0]
    example = which
    if isinstance(which, str):
        example = of_catalogue(f"{subject} [{which}]" if which else subject)
    LAYERS[name] = Case(example, spoil, frozenset(families))


def exchanging(first, second):
    """Let backward find two parts of a layer in each other's place."""

    def wrong(layer, dy, saved):
        a, b = getattr(layer, first), getattr(layer, second)
        setattr(layer, first, b)
        setattr(layer, second, a)
        try:
            return right(layer, dy, saved)
        finally:
            setattr(layer, first, a)
            setattr(layer, second, b)

    return method(wrong)


# --- layers of one operation


def _overwrites(layer, dy, saved):
    layer.weight.grad[...] = 0
    return right(layer, dy, saved)


def _replaces(layer, dy, saved):
    layer.weight.grad = np.zeros_like(layer.weight.value)
    return right(layer, dy, saved)


def _adds_twice(layer, dy, saved):
    layer.weight.grad *= 2
    return right(layer, dy, saved)


def _exchanged(layer, dy, saved):
    dx, dweight, dbias = F.layer_norm_backward(dy, saved)
    layer.weight.add_grad(dbias)
    layer.bias.add_grad(dweight)
    return dx


def _unweighted(layer, dy, saved):
    return right(layer, dy, saved) / layer.weight.value


case("Linear: gradient overwritten", "", method(_overwrites), "not accumulated")
case("Linear: gradient replaced", "no bias", method(_replaces), "not accumulated")
case("Linear: bias a mean", "", parameter("bias", lambda g: g / 6), "factor")
case("Linear: weight's sign", "", parameter("weight", lambda g: -g), "sign")
case("Embedding: gradient overwritten", "", method(_overwrites), "not accumulated")
case("Embedding: rows off by one", "", parameter("weight", lambda g: np.roll(g, 1, 0)), "permuted")
case("LayerNorm: what was there counted twice", "", method(_adds_twice), "not accumulated")
case("LayerNorm: weight and bias exchanged", "", method(_exchanged), "exchanged")
case("LayerNorm: mean over the batch", "no bias", parameter("weight", lambda g: g / 2), "factor")
case("RMSNorm: gradient replaced", "", method(_replaces), "not accumulated")
case("RMSNorm: no weight in dx", "", method(_unweighted), "missing factor")


def _another_mask(layer, dy, saved):
    return right(layer, dy, saved._replace(keep=np.roll(saved.keep, 1)))


def _no_mask(layer, dy, saved):
    return dy * saved.scale


case("Dropout: another mask", "", method(_another_mask), "mask")
case("Dropout: no mask", "", method(_no_mask), "mask")
case("Dropout: no scale", "", method(lambda layer, dy, s: dy * s.keep), "factor")
case("Dropout: dy handed on", "no generator", method(lambda *a: a[1], ours=True), "aliased")

# --- convolution, RNN and LSTM


def _not_padded(layer, dy, saved):
    """As if the zeros stood on the right."""
    return right(layer, dy, saved._replace(padding=saved.padding[::-1]))


def _state_handed_on(layer, dy, saved):
    """A gradient of a state that was not given."""
    dx, dh0 = right(layer, dy, (saved[0], True))
    layer.bias_hh.add_grad(np.sum(dh0, axis=0))
    return dx, None


def _states_exchanged(layer, dy, saved):
    dx, dh0, dc0 = right(layer, dy, saved)
    return dx, dc0, dh0


def _cells_forgotten(layer, dy, saved):
    return *right(layer, dy, saved)[:2], None


case("Conv1d: gradient overwritten", "", method(_overwrites), "not accumulated")
case("Conv1d: padding on the other side", "causal, no bias", method(_not_padded), "wrong paths")
case(
    "Conv1d: kernel reversed",
    "",
    parameter("weight", lambda g: g[..., ::-1]),
    "permuted",
)
case("Conv1d: bias a mean over the positions", "", parameter("bias", lambda g: g / 3), "factor")
case("RNN: a state's gradient in a bias", "", method(_state_handed_on), "extra paths")
case("RNN: transposed", "", parameter("weight_hh", lambda g: g.T.copy()), "transposed")
case(
    "RNN: the state's gradient forgotten",
    "no bias, state given",
    method(lambda *a: (right(*a)[0], None)),
    "missing",
)
case("LSTM: states exchanged", "no bias, states given", method(_states_exchanged), "exchanged")
case("LSTM: cells forgotten", "no bias, states given", method(_cells_forgotten), "missing")
case(
    "LSTM: gates in another order",
    "",
    parameter("weight_ih", lambda g: np.roll(g, 3, axis=0)),
    "wrong paths",
)
case("LSTM: bias a mean over the steps", "", parameter("bias_ih", lambda g: g / 3), "factor")

# --- positions


def _first_of_the_batch(layer, dy, saved):
    layer.weight.add_grad(F.embedding_backward(dy[0], saved.embedding))
    return dy.copy()


def _positions_from_zero(layer, dy, saved):
    layer.weight.grad[: dy.shape[1]] += np.sum(dy, axis=0)
    return dy.copy()


handed_on = method(lambda layer, dy, saved: dy, ours=True)
case("SinusoidalPositionalEncoding: dy handed on", "", handed_on, "aliased")
case(
    "SinusoidalPositionalEncoding: scaled",
    "",
    method(lambda layer, dy, saved: dy * 2.0),
    "factor",
)
case(
    "LearnedPositionalEncoding: the first of the batch",
    "",
    method(_first_of_the_batch),
    "missing paths",
)
case(
    "LearnedPositionalEncoding: a mean over the batch",
    "",
    parameter("weight", lambda g: g / 2),
    "factor",
)
case(
    "LearnedPositionalEncoding: positions forgotten",
    "positions given",
    method(_positions_from_zero),
    "wrong paths",
)

# --- T5's bias


def _array_of(change):
    """The right backward, of another gradient of the array."""
    return method(lambda layer, dy, saved: right(layer, change(dy), saved))


def _never_summed(layer, dy, saved):
    """Of all places of a number, the last alone counts."""
    n_q, n_k = dy.shape[1:]
    distance = np.arange(n_k) - np.arange(n_q)[:, None] - (n_k - n_q)
    which = buckets(distance, *layer.weight.shape[:1], layer.bidirectional, layer.max_distance)
    dweight = np.zeros_like(layer.weight.grad)
    for head, dhead in enumerate(dy):
        dweight[:, head][which] += dhead
    layer.weight.add_grad(dweight)


def _queries_at_the_first_keys(layer, dy, saved):
    """As if query i stood at key i, though there are more keys."""
    n_k = dy.shape[2]
    square = np.zeros((len(dy), n_k, n_k))
    square[:, : dy.shape[1]] = dy
    return right(layer, square, layer.forward(n_k)[1])


def relative(name, which, spoil, *families):
    case(f"RelativePositionBias: {name}", which, spoil, *families)


relative("gradient overwritten", "both directions", method(_overwrites), "not accumulated")
relative("the last place alone", "both directions", method(_never_summed), "missing paths")
relative("heads exchanged", "one direction", _array_of(lambda dy: dy[::-1]), "permuted")
relative(
    "directions exchanged",
    "both directions",
    parameter("weight", lambda g: np.roll(g, 3, axis=0)),
    "wrong paths",
)
relative("a mean over the queries", "one direction", _array_of(lambda dy: dy / 4), "factor")
relative(
    "queries at the first keys", "one direction", method(_queries_at_the_first_keys), "wrong paths"
)

# --- feed-forward


def _no_dropout(layer, dy, saved):
    return right(layer, dy, saved._replace(dropout=saved.dropout._replace(keep=None)))


def _value_path_alone(layer, dy, saved):
    """The gate's own gradients, but nothing of them in dx."""
    dg = layer.down.backward(dy, saved.down)
    dg = layer.dropout.backward(dg, saved.dropout)
    da, dh = F.swiglu_backward(dg, saved.activation)
    layer.gate.backward(da, saved.gate)
    return layer.up.backward(dh, saved.up)


def _no_activation(layer, dy, saved):
    return layer.up.backward(layer.down.backward(dy, saved.down), saved.up)


def _width_for_width(layer, dy, saved):
    """As if a mean over d_model had been one over d_ff."""
    return right(layer, dy, saved) * 6 / 4


case("FeedForward: slope forgotten", "relu", method(_no_activation), "extra paths")
case("FeedForward: dropout forgotten", "gelu", method(_no_dropout), "extra paths")
case("FeedForward: the gate's dx dropped", "swiglu", method(_value_path_alone), "unrelated")
case(
    "FeedForward: up and gate exchanged",
    "swiglu",
    exchanging("up", "gate"),
    "exchanged",
)
case("FeedForward: d_ff for d_model", "silu", method(_width_for_width), "factor")
case(
    "FeedForward: a weight inside overwritten",
    "gelu_tanh",
    method(_overwrites, "down"),
    "not accumulated",
)

# --- multi-head attention


def _dx_of_queries_alone(layer, dy, saved):
    return right(layer, dy, saved._replace(to_itself=False))[0], None


def _attention_of(change):
    """Changes to what attention saved, before the right backward."""

    def wrong(layer, dy, saved):
        return right(layer, dy, saved._replace(attention=change(saved.attention)))

    return method(wrong)


def _heads_cut_without_turning(layer, dy, saved):
    cut = type(layer)._cut
    type(layer)._cut = lambda self, x, heads: x.reshape(*x.shape[:-2], heads, x.shape[-2], -1)
    try:
        return right(layer, dy, saved)
    finally:
        type(layer)._cut = cut


def _first_head_of_a_group(layer, dy, saved):
    s = saved.attention
    copies = [np.repeat(x, 2, axis=-3) for x in (s.k, s.v)]
    return right(layer, dy, saved._replace(attention=s._replace(k=copies[0], v=copies[1])))


def _keys_not_turned_back(layer, dy, saved):
    of_q, of_k = saved.rotary
    still = of_k._replace(cos=np.ones_like(of_k.cos), sin=np.zeros_like(of_k.sin))
    return right(layer, dy, saved._replace(rotary=(of_q, still)))


def _doubled(layer, dy, saved):
    dx, dmemory = right(layer, dy, saved)
    return dx, 2 * dmemory


def _forgotten(layer, dy, saved):
    return right(layer, dy, saved)[0], None


def _of_keys(layer, dy, saved):
    """What the values feed back is lost: v_proj counts, but hands nothing on."""
    dx, dmemory = right(layer, dy, saved)
    do = layer._cut(dy @ layer.out_proj.weight.value, layer.num_heads)
    dv = layer._join(F.attention_backward(do, saved.attention)[2])
    return dx, dmemory - dv @ layer.v_proj.weight.value


def mha(name, which, spoil, *families):
    case(f"MultiHeadAttention: {name}", which, spoil, *families)


mha("queries' dx alone", "", method(_dx_of_queries_alone), "missing paths")
mha(
    "q_proj and k_proj exchanged",
    "",
    exchanging("q_proj", "k_proj"),
    "exchanged",
)
mha("heads cut without turning", "", method(_heads_cut_without_turning), "missing paths")
mha("scaled by d_model", "", _attention_of(lambda s: s._replace(scale=8**-0.5)), "factor")
mha("scaled by the heads", "", parameter("q_proj.weight", lambda g: g / 2), "factor")
mha(
    "heads exchanged",
    "",
    parameter("out_proj.weight", lambda g: np.roll(g, 4, axis=1)),
    "permuted",
)
mha(
    "no dropout in backward",
    "causal, dropout",
    _attention_of(lambda s: s._replace(rate=0.0)),
    "extra paths",
)
mha(
    "another dropout mask",
    "causal, dropout",
    _attention_of(lambda s: s._replace(seed=s.seed + 1)),
    "extra paths",
    "wrong paths",
)
mha(
    "mask forgotten",
    "causal, dropout",
    _attention_of(lambda s: s._replace(p=F.attention_weights(s.q, s.k))),
    "extra paths",
)
mha(
    "a group's first head alone",
    "grouped, rotary, masked",
    method(_first_head_of_a_group),
    "missing paths",
)
mha(
    "keys not turned back",
    "grouped, rotary, masked",
    method(_keys_not_turned_back),
    "missing term",
    "one slice",  # where the mask hides whole places
)
mha("memory's gradient doubled", "cross", method(_doubled), "factor")
mha("memory's gradient forgotten", "cross", method(_forgotten), "missing")
mha("memory's gradient of keys alone", "cross", method(_of_keys), "unrelated")

# --- linear attention


def _key_head_by_key_head(layer, dy, saved):
    """Query heads grouped the other way round: r G + g in place of g R + r."""
    groups, group = layer.num_kv_heads, layer.num_heads // layer.num_kv_heads
    heads = dy @ layer.out_proj.weight.value
    *lead, width = heads.shape
    do = np.moveaxis(heads.reshape(*lead, group, groups, -1).swapaxes(-3, -2), -4, -2)
    dq, _, _ = F.linear_attention_backward(np.ascontiguousarray(do), saved.attention)
    right(layer, dy, saved)
    return layer._join(dq).reshape(*lead, width) @ layer.q_proj.weight.value, None


def linear_attention(name, which, spoil, *families):
    case(f"LinearAttention: {name}", which, spoil, *families)


linear_attention("queries' dx alone", "", method(_dx_of_queries_alone), "missing paths")
linear_attention(
    "q_proj and k_proj exchanged",
    "",
    exchanging("q_proj", "k_proj"),
    "exchanged",
)
linear_attention(
    "causality forgotten",
    "causal",
    _attention_of(lambda s: s._replace(causal=False)),
    "extra paths",
)
linear_attention(
    "mask forgotten",
    "grouped, masked",
    _attention_of(lambda s: s._replace(key_mask=None)),
    "extra paths",
    "missing term",
)
linear_attention(
    "normaliser taken for a constant",
    "cross",
    _attention_of(lambda s: s._replace(y=np.zeros_like(s.y))),
    "missing term",
)
linear_attention(
    "heads grouped the other way round",
    "grouped, masked",
    method(_key_head_by_key_head),
    "missing paths",
)
linear_attention("memory's gradient doubled", "cross", method(_doubled), "factor")
linear_attention("memory's gradient forgotten", "cross", method(_forgotten), "missing")
linear_attention(
    "a weight inside overwritten", "causal", method(_overwrites, "v_proj"), "not accumulated"
)


# --- blocks and stacks


def _without_the_stream(layer, dy, saved):
    return right(layer, dy, saved) - dy


def _last_layer_for_all(layer, dy, saved):
    return right(layer, dy, saved._replace(layers=saved.layers[::-1]))


def _norm_skipped(layer, dy, saved):
    norm, layer.norm = layer.norm, None
    try:
        return right(layer, dy, saved)
    finally:
        layer.norm = norm


def _first_part_of_memory(layer, dy, saved):
    """Memory's gradient from one layer, though every layer reads it."""
    dx, parts = dy if layer.norm is None else layer.norm.backward(dy, saved.norm), []
    for one, one_saved in zip(layer.layers[::-1], saved.layers[::-1], strict=True):
        dx, part = one.backward(dx, one_saved)
        parts.append(part)
    return dx, parts[0]


def _memory_of_the_wrong_sign(layer, dy, saved):
    dx, dmemory = right(layer, dy, saved)
    return dx, -dmemory


def _branch_not_dropped(layer, dy, saved):
    branch = saved.feed_forward
    branch = branch._replace(dropout=branch.dropout._replace(keep=None))
    return right(layer, dy, saved._replace(feed_forward=branch))


case("EncoderLayer: the stream dropped", "pre", method(_without_the_stream), "missing term")
case(
    "EncoderLayer: norms exchanged",
    "pre",
    exchanging("self_attention_norm", "feed_forward_norm"),
    "exchanged",
)
case(
    "EncoderLayer: dropout of a branch forgotten",
    "post",
    method(_branch_not_dropped),
    "extra paths",
)
case("DecoderLayer: memory's sign", "post", method(_memory_of_the_wrong_sign), "sign")
case("DecoderLayer: memory doubled", "pre", method(_doubled), "factor")
case("Encoder: layers undone in the wrong order", "pre", method(_last_layer_for_all), "unrelated")
case("Encoder: the last norm not undone", "pre", method(_norm_skipped), "zero")
case(
    "Encoder: a weight inside doubled",
    "pre",
    parameter("layers.1.feed_forward.up.weight", lambda g: 2 * g),
    "factor",
)
case("Decoder: memory of the last layer alone", "pre", method(_first_part_of_memory), "unrelated")
case(
    "Decoder: a weight inside overwritten",
    "pre",
    method(_overwrites, "layers.1.cross_attention.out_proj"),
    "not accumulated",
)


# --- checkpoints


def _without_dropout(layer, dy, saved):
    return right(layer, dy, saved._replace(rng=None))


def _other_dropout(layer, dy, saved):
    """The generator went on between forward and its repetition, as the run's own has."""
    layer.forward(*saved.inputs, **saved.options, run=Run(rng=saved.rng))
    return right(layer, dy, saved)


def _mask_forgotten(layer, dy, saved):
    return right(layer, dy, saved._replace(options=saved.options | {"mask": None}))


def _other_inputs(layer, dy, saved):
    x, *others = saved.inputs
    return right(layer, dy, saved._replace(inputs=(np.roll(x, 1, axis=-1), *others)))


def _sublayers_twice(layer, dy, saved):
    """As if a repetition of forward had its gradients added once more."""
    right(layer, dy, saved)
    return right(layer, dy, saved)


masked = "nested, two inputs, masked"
case("Checkpoint: no dropout the second time", "", method(_without_dropout), "extra paths")
case("Checkpoint: another dropout the second time", "", method(_other_dropout), "wrong paths")
case("Checkpoint: inputs written to between", "", method(_other_inputs), "wrong paths")
case(
    "Checkpoint: mask forgotten the second time",
    masked,
    method(_mask_forgotten),
    "one slice",
    "missing term",
)
case("Checkpoint: memory's gradient forgotten", masked, method(_forgotten), "missing")
case("Checkpoint: parameters' gradients added twice", "", method(_sublayers_twice), "factor")


# --- one weight in two places


class Tied(Layer):
    """y = W^T tanh(W x): a table that is read, and read back."""

    def __init__(self, rng, dtype):
        self.weight = Parameter(rng.standard_normal((4, 3)).astype(dtype))

    def forward(self, x, run=None):
        t = np.tanh(x @ self.weight.value.T)
        return t @ self.weight.value, (x, t)

    def backward(self, dy, saved, run=None):
        x, t = saved
        du = dy @ self.weight.value.T * (1 - t * t)
        self.weight.add_grad(t.T @ dy)
        self.weight.add_grad(du.T @ x)
        return du @ self.weight.value


def tied(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    layer = Tied(rng, dtype)
    return Example("Tied", "", layer, (rng.standard_normal((5, 3)).astype(dtype),))


def _counted_once(layer, dy, saved):
    before = layer.weight.grad + saved[1].T @ dy
    dx = right(layer, dy, saved)
    layer.weight.grad[...] = before
    return dx


case("tied weights: counted once", tied, method(_counted_once), "missing paths")
