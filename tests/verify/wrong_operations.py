"""Wrong gradients of operations, and of small functions made for the purpose."""

import math

import numpy as np
from verify.cases import (
    Case,
    backward,
    change,
    entry,
    given_right,
    keeping_inputs,
    of_catalogue,
    of_pair,
)

import npformer.functional as F
from npformer.biases import as_bias

OPERATIONS = {}


def case(name, example, spoil, *families):
    OPERATIONS[name] = Case(example, spoil, frozenset(families))


def of_op(op, *shapes):
    return of_pair(getattr(F, op), getattr(F, f"{op}_backward"), *shapes)


def ours(f):
    """Let a function count as one of npformer's, of which more is asked."""
    f.__module__ = "npformer.functional"
    return f


# --- linear: dx, dweight, dbias


def linear(name, spoil, *families, shapes=((4, 3), (5, 3), (5,))):
    case(f"linear: {name}", of_op("linear", *shapes), spoil, *families)


SQUARE = (4, 4), (4, 4), (4,)


def dbias(f):
    """The right dx and dweight, and a bias's gradient of one's own."""
    return given_right(lambda right, dy, saved: (*right(dy, saved)[:2], f(dy)))


linear("dx sign", change(d0=np.negative), "sign")
linear("dweight sign", change(d1=np.negative), "sign")
linear("dx doubled", change(d0=lambda g: 2 * g), "factor")
linear("dweight over the batch", change(d1=lambda g: g / 4), "factor")
linear("dbias a mean", change(d2=lambda g: g / 4), "factor")
linear("dweight by sqrt(d)", change(d1=lambda g: g / math.sqrt(3)), "factor")
linear("dbias zero", change(d2=np.zeros_like), "zero")
linear("dbias forgotten", change(d2=lambda g: None), "missing")
linear("dweight transposed", change(d1=lambda g: g.T.copy()), "shape")
linear("one entry off by 0.1 %", change(d1=entry((2, 1), 1.001)), "one index")
linear("one entry off by 1e-6", change(d1=entry((4, 0), 1 + 1e-6)), "one index")
linear("all off by 1e-6", change(d0=lambda g: g * (1 + 1e-6)), "factor")
linear("one row wrong", change(d0=entry(2, -1.0)), "one slice")
linear("one column wrong", change(d1=entry((slice(None), 1), 2.0)), "one slice")
linear("nan", change(d0=entry((0, 0), np.nan)), "not finite")
linear("dbias keeps its axis", change(d2=lambda g: g[None]), "shape")
linear("dbias of the first vector", dbias(lambda dy: dy[0].copy()), "missing paths")
linear("float32 inside", change(d0=lambda g: g.astype(np.float32).astype(float)), "precision")
linear("float32 out", change(d1=lambda g: g.astype(np.float32)), "dtype")
transposed = change(d1=lambda g: g.T.copy())
linear("square dweight transposed", transposed, "transposed", shapes=SQUARE)
linear(
    "arguments exchanged",
    given_right(lambda right, dy, saved: tuple(right(dy, saved)[i] for i in (1, 0, 2))),
    "exchanged",
    shapes=SQUARE,
)
linear(
    "weight not transposed",
    given_right(lambda right, dy, saved: (dy @ saved.weight.T, *right(dy, saved)[1:])),
    "transposed",
    shapes=SQUARE,
)
over_rows = dbias(lambda dy: np.sum(dy, axis=1))
linear("dbias over the wrong axis", over_rows, "wrong paths", shapes=SQUARE)

# --- layer_norm: dx, dweight, dbias


def layer_norm(name, spoil, *families):
    case(f"layer_norm: {name}", of_op("layer_norm", (2, 3, 5), (5,), (5,)), spoil, *families)


def layer_norm_dx(ones=1, xhat=1, weight=1, r=1):
    """dx with each of its parts to be left out."""

    def wrong(right, dy, saved):
        dxhat = dy * saved.weight if weight else dy * 1.0
        along_ones = np.mean(dxhat, axis=-1, keepdims=True)
        along_xhat = np.mean(dxhat * saved.xhat, axis=-1, keepdims=True)
        dx = dxhat - ones * along_ones - xhat * saved.xhat * along_xhat
        return dx * saved.r if r else dx, *right(dy, saved)[1:]

    return given_right(wrong)


def _bias_gradient_twice(right, dy, saved):
    dx, _, dbias = right(dy, saved)
    return dx, dbias.copy(), dbias


def _weight_twice(right, dy, saved):
    dx, dweight, dbias = right(dy, saved)
    return dx * saved.weight, dweight, dbias


layer_norm("no projection onto ones", layer_norm_dx(ones=0), "missing term")
layer_norm("no projection onto xhat", layer_norm_dx(xhat=0), "missing term")
layer_norm("no projection at all", layer_norm_dx(ones=0, xhat=0), "missing paths")
layer_norm("weight forgotten", layer_norm_dx(weight=0), "missing factor")
layer_norm("no division by the deviation", layer_norm_dx(r=0), "missing factor")
layer_norm("dweight without xhat", given_right(_bias_gradient_twice), "exchanged")
layer_norm("dx times weight once more", given_right(_weight_twice), "missing factor")
layer_norm("dbias halved", change(d2=lambda g: g / 2), "factor")
layer_norm("dweight over B T", change(d1=lambda g: g / 6), "factor")

# --- rms_norm: dx, dweight


def rms_norm_dx(projection=1, weight=1, mean=1):
    """dx with parts to be left out: the projection, the weight inside it, the n of its mean."""

    def wrong(right, dy, saved):
        xhat, dxhat = saved.x * saved.r, dy * saved.weight
        inside = dxhat if weight else dy
        along = np.sum(inside * xhat, axis=-1, keepdims=True) / (5 if mean else 1)
        return saved.r * (dxhat - projection * xhat * along), right(dy, saved)[1]

    return given_right(wrong)


def rms_norm(name, spoil, *families):
    case(f"rms_norm: {name}", of_catalogue("rms_norm"), spoil, *families)


rms_norm("no projection", rms_norm_dx(projection=0), "missing term")
rms_norm("weight forgotten in the projection", rms_norm_dx(weight=0), "missing term")
rms_norm("sum for mean in the projection", rms_norm_dx(mean=0), "missing term")
rms_norm("dweight a mean over B", change(d1=lambda g: g / 2), "factor")
rms_norm(
    "dweight from x, not from xhat",
    given_right(lambda right, dy, s: (right(dy, s)[0], np.sum(dy * s.x, axis=(0, 1)))),
    "missing factor",
)

# --- softmax and log_softmax


def softmax(name, f, *families):
    case(f"softmax: {name}", of_op("softmax", (3, 4)), given_right(f), *families)


softmax("sum dropped", lambda right, dy, s: dy * s.y, "missing term")
softmax(
    "sum over the wrong axis",
    lambda right, dy, s: s.y * (dy - np.sum(dy * s.y, axis=0, keepdims=True)),
    "wrong paths",
)
softmax("sum over all", lambda right, dy, s: s.y * (dy - np.sum(dy * s.y)), "missing term")
softmax(
    "as if element-wise",
    lambda right, dy, s: dy * s.y * (1 - s.y),
    "missing paths",
)
softmax(
    "sum not weighted",
    lambda right, dy, s: s.y * (dy - np.sum(dy, axis=-1, keepdims=True)),
    "missing term",
)
softmax("y forgotten", lambda right, dy, s: right(dy, s) / s.y, "missing factor")
softmax("shifted by one", lambda right, dy, s: np.roll(right(dy, s), 1, -1), "permuted")
softmax("reversed", lambda right, dy, s: right(dy, s)[:, ::-1].copy(), "permuted")
case(
    "softmax: only the first row",
    of_op("softmax", (3, 4)),
    change(d0=entry(slice(1, None), 0)),
    "missing paths",
)
case(
    "softmax: the last axis for the first",
    of_catalogue("softmax [axis 0]"),
    given_right(lambda right, dy, s: right(dy, s._replace(axis=-1))),
    "wrong paths",
)


def log_softmax(name, f, *families):
    case(f"log_softmax: {name}", of_catalogue("log_softmax"), given_right(f), *families)


log_softmax("sum dropped", lambda right, dy, s: dy.copy(), "missing term")
log_softmax(
    "mean for the weighted sum",
    lambda right, dy, s: dy - np.mean(dy, axis=-1, keepdims=True),
    "missing term",
)
log_softmax(
    "softmax's backward",
    lambda right, dy, s: F.softmax_backward(dy, F.softmax(s.y)[1]),
    "missing factor",
)

# --- activations

case(
    "relu: gate forgotten",
    of_catalogue("relu"),
    backward(lambda dy, s: dy.copy()),
    "mask",
)
case(
    "relu: gated by dy as well",
    of_catalogue("relu"),
    backward(lambda dy, s: dy * (s.y > 0) * (dy > 0)),
    "not linear",
    "mask",
    "one slice",
)
case(
    "gelu: the slope of the approximation",
    of_catalogue("gelu [approximate=none]"),
    keeping_inputs(lambda right, dy, s, x: right(dy, F.gelu(*x, approximate="tanh")[1])),
    "slope",
)
case(
    "gelu: the exact slope of the approximation",
    of_catalogue("gelu [approximate=tanh]"),
    keeping_inputs(lambda right, dy, s, x: right(dy, F.gelu(*x)[1])),
    "slope",
)
case(
    "quick_gelu: sharpness forgotten",
    of_catalogue("quick_gelu"),
    keeping_inputs(lambda right, dy, s, x: right(dy, F.silu(*x)[1])),
    "slope",
)
case(
    "silu: only the sigmoid",
    of_catalogue("silu"),
    keeping_inputs(lambda right, dy, s, x: dy * F.sigmoid(*x)[0]),
    "slope",
)
case(
    "sigmoid: 1 - y forgotten",
    of_catalogue("sigmoid"),
    backward(lambda dy, s: dy * s.y),
    "missing factor",
)
case(
    "sigmoid: y (1 + y)",
    of_catalogue("sigmoid"),
    backward(lambda dy, s: dy * s.y * (1 + s.y)),
    "slope",
)
case(
    "tanh: derivative of the input",
    of_op("tanh", (3, 4)),
    backward(lambda dy, s: dy * (1 - np.arctanh(s.y) ** 2)),
    "slope",
)
case(
    "tanh: square forgotten",
    of_op("tanh", (3, 4)),
    backward(lambda dy, s: dy * (1 - s.y)),
    "slope",
)
case(
    "swiglu: da and db exchanged",
    of_catalogue("swiglu"),
    given_right(lambda right, dy, s: right(dy, s)[::-1]),
    "exchanged",
)
case(
    "swiglu: the value forgotten in the gate's gradient",
    of_catalogue("swiglu"),
    given_right(lambda right, dy, s: (F.silu_backward(dy, s.silu), right(dy, s)[1])),
    "missing factor",
)
case(
    "swiglu: sigmoid for silu",
    of_catalogue("swiglu"),
    keeping_inputs(lambda right, dy, s, x: (right(dy, s)[0], dy * F.sigmoid(x[0])[0])),
    "missing factor",
)

# --- embedding and positions


def repeated(seed, dtype=np.float64):
    """Ids of which two occur twice."""
    example = of_catalogue("embedding")(seed, dtype)
    ids = np.array([[0, 1, 2, 2, 3], [4, 0, 5, 1, 1]])
    return example.__class__("embedding", "", example.target, (ids, example.inputs[1]))


def _overwritten(right, dy, saved):
    dweight = np.zeros_like(saved.weight)
    dweight[saved.ids] = dy
    return dweight


case("embedding: repeated ids overwrite", repeated, given_right(_overwritten), "missing paths")
case("embedding: rows off by one", repeated, change(d0=lambda g: np.roll(g, 1, 0)), "permuted")
case("embedding: row of padding left out", repeated, change(d0=entry(0, 0)), "missing paths")
case("embedding: mean over B", repeated, change(d0=lambda g: g / 2), "factor")
case(
    "sinusoidal: dy handed on",
    of_catalogue("sinusoidal"),
    backward(ours(lambda dy, s: dy)),
    "aliased",
)
case(
    "sinusoidal: scaled by sqrt(d)",
    of_catalogue("sinusoidal [layout=halves]"),
    change(d0=lambda g: g * 2.0),
    "factor",
)
case(
    "rotary: turned on, not back",
    of_catalogue("rotary"),
    given_right(lambda right, dy, s: right(dy, s._replace(sin=-s.sin))),
    "transposed",
)
case(
    "rotary: the other layout",
    of_catalogue("rotary [interleaved]"),
    given_right(lambda right, dy, s: right(dy, s._replace(interleaved=False))),
    "wrong paths",
)
case(
    "rotary: not turned at all",
    of_catalogue("rotary"),
    backward(lambda dy, s: dy.copy()),
    "missing term",
)

# --- dropout

case(
    "dropout: another mask",
    of_catalogue("dropout"),
    given_right(lambda right, dy, s: right(dy, s._replace(keep=s.keep[::-1, ::-1]))),
    "mask",
)
case(
    "dropout: no mask",
    of_catalogue("dropout"),
    backward(lambda dy, s: dy * s.scale),
    "mask",
)
case(
    "dropout: no scale",
    of_catalogue("dropout"),
    backward(lambda dy, s: dy * s.keep),
    "factor",
)
case(
    "dropout: dy handed on",
    of_catalogue("dropout [no generator]"),
    backward(ours(lambda dy, s: dy)),
    "aliased",
)

# --- attention: dq, dk, dv, dbias


def attention(name, which, f, *families):
    example = of_catalogue(f"attention [{which}]" if which else "attention")
    case(f"attention: {name}", example, given_right(f), *families)


def _without_mask(right, dy, saved):
    p = F.attention_weights(saved.q, saved.k, scale=saved.scale)
    return right(dy, saved._replace(p=p))


def _of_one_head(reduce):
    """dk and dv from copies of k and v for each head, and then not summed."""

    def wrong(right, dy, saved):
        k, v = (np.repeat(x, 3, axis=2) for x in (saved.k, saved.v))
        dq, dk, dv, _ = right(dy, saved._replace(k=k, v=v))
        return dq, reduce(dk), reduce(dv), None

    return wrong


def _softmax_sum_dropped(right, dy, saved):
    dp = dy @ saved.v.swapaxes(-1, -2)
    ds = saved.p * dp * saved.scale
    return ds @ saved.k, ds.swapaxes(-1, -2) @ saved.q, right(dy, saved)[2], None


def _dv_of_scores(right, dy, saved):
    dp = dy @ saved.v.swapaxes(-1, -2)
    ds = saved.p * (dp - np.sum(dp * saved.p, axis=-1, keepdims=True))
    return *right(dy, saved)[:2], ds.swapaxes(-1, -2) @ dy, None


def _dropout_only_in_dv(right, dy, saved):
    return *right(dy, saved._replace(rate=0.0))[:2], right(dy, saved)[2], None


def _replaced(**changes):
    return lambda right, dy, saved: right(dy, saved._replace(**changes))


attention("scale forgotten", "", _replaced(scale=1.0), "factor")
attention("scaled by d, not its root", "", _replaced(scale=1 / 4), "factor")
attention("the usual scale for another", "bias, scale", _replaced(scale=0.5), "factor")
attention("softmax sum dropped", "", _softmax_sum_dropped, "missing term")
attention("dv from ds", "", _dv_of_scores, "unrelated")
attention(
    "dq and dk exchanged",
    "causal",
    lambda right, dy, s: tuple(right(dy, s)[i] for i in (1, 0, 2, 3)),
    "exchanged",
)
attention(
    "heads of dv exchanged",
    "",
    lambda right, dy, s: (*right(dy, s)[:2], right(dy, s)[2][:, ::-1].copy(), None),
    "permuted",
)
attention("mask forgotten", "causal", _without_mask, "extra paths")
attention(
    "padding forgotten",
    "causal and padded, dead rows",
    _without_mask,
    "extra paths",
)
attention(
    "another dropout mask",
    "dropout",
    lambda right, dy, s: right(dy, s._replace(seed=s.seed + 1)),
    "wrong paths",
)
attention("no dropout in backward", "dropout", _replaced(rate=0.0), "extra paths")
attention("dropout in dv alone", "dropout", _dropout_only_in_dv, "unrelated")
attention(
    "a group's first head alone",
    "grouped queries",
    _of_one_head(lambda g: g[:, :, :1].copy()),
    "missing paths",
)
attention(
    "mean over a group",
    "grouped queries",
    _of_one_head(lambda g: np.mean(g, axis=2, keepdims=True)),
    "factor",
)
attention("a group's heads not summed", "grouped queries", _of_one_head(np.copy), "shape")
attention(
    "dbias of the first of the batch",
    "bias, scale",
    lambda right, dy, s: (*right(dy, s)[:3], right(dy, s._replace(bias=as_bias(s.p)))[3][0]),
    "shape",
)
attention(
    "dbias scaled",
    "bias, scale",
    lambda right, dy, s: (*right(dy, s)[:3], right(dy, s)[3] * s.scale),
    "factor",
)

# --- linear_attention: dq, dk, dv


def linear_attention(name, which, f, *families):
    example = of_catalogue(f"linear_attention [{which}]" if which else "linear_attention")
    case(f"linear_attention: {name}", example, given_right(f), *families)


def _slope_of_queries_forgotten(right, dy, saved):
    dq, *others = right(dy, saved)
    return dq / np.where(saved.q > 0, 1, np.exp(saved.q)), *others


def _nothing_carried_back(right, dy, saved):
    """Chunks of two, and to their keys only what their own queries bring."""
    dq, dk, dv = (g.copy() for g in right(dy, saved))
    for start in range(0, dy.shape[-2], 2):
        chunk = slice(start, start + 2)
        alone = np.zeros_like(dy)
        alone[..., chunk, :] = dy[..., chunk, :]
        _, dk_alone, dv_alone = right(alone, saved)
        dk[..., chunk, :], dv[..., chunk, :] = dk_alone[..., chunk, :], dv_alone[..., chunk, :]
    return dq, dk, dv


def _of_one_query_head(reduce):
    """dk and dv from copies of k and v for each query head, and then not summed."""

    def wrong(right, dy, saved):
        k, v = (np.repeat(x, 3, axis=2) for x in (saved.k, saved.v))
        dq, dk, dv = right(dy, saved._replace(k=k, v=v))
        return dq, reduce(dk), reduce(dv)

    return wrong


linear_attention(
    "normaliser taken for a constant",
    "",
    lambda right, dy, s: right(dy, s._replace(y=np.zeros_like(s.y))),
    "missing term",
)
linear_attention(
    "not normalised",
    "no leading axes, one key",
    lambda right, dy, s: right(dy, s._replace(t=np.ones_like(s.t))),
    "missing factor",
)
linear_attention(
    "slope of the queries' features forgotten",
    "",
    _slope_of_queries_forgotten,
    "missing factor",
)
linear_attention(
    "causality forgotten",
    "causal",
    lambda right, dy, s: right(dy, s._replace(causal=False)),
    "extra paths",
)
linear_attention(
    "nothing carried back from chunk to chunk",
    "causal",
    _nothing_carried_back,
    "missing paths",
)
linear_attention(
    "mask forgotten",
    "masked, dead rows",
    lambda right, dy, s: right(dy, s._replace(key_mask=None)),
    "extra paths",
)
linear_attention(
    "dq and dk exchanged",
    "causal",
    lambda right, dy, s: tuple(right(dy, s)[i] for i in (1, 0, 2)),
    "exchanged",
)
linear_attention(
    "heads of dv exchanged",
    "",
    lambda right, dy, s: (*right(dy, s)[:2], right(dy, s)[2][:, ::-1].copy()),
    "permuted",
)
linear_attention(
    "mean over a group",
    "grouped queries",
    _of_one_query_head(lambda g: np.mean(g, axis=2, keepdims=True)),
    "factor",
)
linear_attention(
    "a group's first head alone",
    "grouped queries",
    _of_one_query_head(lambda g: g[:, :, :1].copy()),
    "missing paths",
)
linear_attention(
    "a group's heads not summed", "grouped queries", _of_one_query_head(np.copy), "shape"
)

# --- cross_entropy


def cross_entropy(name, which, f, *families):
    example = of_catalogue(f"cross_entropy [{which}]" if which else "cross_entropy")
    case(f"cross_entropy: {name}", example, given_right(f), *families)


IGNORED = "smoothed, some ignored"


def _ignored_too(right, dy, saved):
    dx = right(dy, saved)
    left_out = np.setdiff1d(np.arange(len(dx)), saved.counted)
    dx[left_out] = saved.p[0] * dy / len(saved.counted)
    return dx


cross_entropy("a sum for the mean", "", lambda right, dy, s: right(dy, s) * 6, "factor")
cross_entropy("mean over B alone", "", lambda right, dy, s: right(dy, s) * 3, "factor")
cross_entropy("dy ignored", "", lambda right, dy, s: right(1.0, s), "missing factor")
cross_entropy(
    "the one-hot target forgotten",
    "",
    lambda right, dy, s: (s.p * dy / 6).reshape(2, 3, 5),
    "missing term",
)
cross_entropy("ignored targets in the mean", IGNORED, lambda r, dy, s: r(dy, s) * 3 / 5, "factor")
cross_entropy("ignored rows not zero", IGNORED, _ignored_too, "one slice")
cross_entropy("smoothing forgotten", IGNORED, _replaced(label_smoothing=0.0), "missing term")

# --- linear_cross_entropy: dx, dweight


def linear_cross_entropy(name, which, f, *families):
    example = of_catalogue(f"linear_cross_entropy [{which}]" if which else "linear_cross_entropy")
    case(f"linear_cross_entropy: {name}", example, given_right(f), *families)


def _one_hot_forgotten(right, dy, s):
    """All of p - q but the 1 of the target, in g = e - z q."""
    g = s.g.copy()
    g[np.arange(len(g)), s.targets] += s.z[:, 0]
    return right(dy, s._replace(g=g))


def _without_z(right, dy, s):
    """c_n without the sum of the exponentials."""
    return right(dy, s._replace(z=np.ones_like(s.z)))


def _z_once_too_often(right, dy, s):
    """c_n in the x of dweight, and again in g."""
    c = dy / (len(s.x) * s.z)
    return right(dy, s)[0], (c * s.g).T @ (c * s.x)


def _rows_without_c(right, dy, s):
    return (s.g @ s.weight).reshape(s.shape), right(dy, s)[1]


def _smoothing_forgotten(right, dy, s):
    g = s.g + s.label_smoothing / len(s.weight) * s.z
    return right(dy, s._replace(g=g))


linear_cross_entropy(
    "a sum for the mean", "", lambda r, dy, s: tuple(6 * g for g in r(dy, s)), "factor"
)
linear_cross_entropy("dy ignored", "", lambda r, dy, s: r(1.0, s), "missing factor", "not linear")
linear_cross_entropy(
    "ignored targets in the mean",
    IGNORED,
    lambda r, dy, s: tuple(g * 3 / 5 for g in r(dy, s)),
    "factor",
)
linear_cross_entropy(
    "the one-hot target forgotten",
    "",
    _one_hot_forgotten,
    "missing term",
)
linear_cross_entropy("not divided by z", "", _without_z, "missing factor")
linear_cross_entropy("c twice in dweight", "", _z_once_too_often, "unrelated")
linear_cross_entropy("no c in dx", "", _rows_without_c, "missing factor")
linear_cross_entropy("smoothing forgotten", IGNORED, _smoothing_forgotten, "missing term")

# --- conv1d: dx, dweight, dbias


def conv1d(name, which, f, *families):
    example = of_catalogue(f"conv1d [{which}]" if which else "conv1d")
    case(f"conv1d: {name}", example, given_right(f), *families)


def _overwritten_where_windows_overlap(right, dy, s):
    """What a window hands back takes the place of what others did."""
    dx, *others = right(dy, s)
    dx = np.zeros_like(dx)
    for j in range(s.weight.shape[2]):
        dx[..., j : j + dy.shape[-2], :] = dy @ s.weight[..., j]
    return dx, *others


def _kernel_reversed(right, dy, s):
    turned = s._replace(weight=s.weight[..., ::-1])
    return right(dy, turned)[0], *right(dy, s)[1:]


def _padding_on_the_other_side(right, dy, s):
    return right(dy, s._replace(padding=s.padding[::-1]))


conv1d("windows overwrite", "", _overwritten_where_windows_overlap, "missing paths")
conv1d("kernel reversed in dx", "", _kernel_reversed, "permuted")
conv1d(
    "dweight reversed",
    "",
    lambda right, dy, s: (right(dy, s)[0], right(dy, s)[1][..., ::-1].copy(), right(dy, s)[2]),
    "permuted",
)
conv1d(
    "padding on the other side",
    "no bias, one sequence",
    _padding_on_the_other_side,
    "wrong paths",
)
conv1d(
    "dx not cut out of the padding",
    "stride, padding",
    lambda right, dy, s: (np.roll(right(dy, s)[0], 1, axis=-2), *right(dy, s)[1:]),
    "permuted",
)
conv1d(
    "dbias a mean over the positions",
    "stride, padding",
    lambda right, dy, s: (*right(dy, s)[:2], right(dy, s)[2] / dy.shape[-2]),
    "factor",
)
conv1d(
    "dweight a mean over the batch",
    "",
    lambda right, dy, s: (right(dy, s)[0], right(dy, s)[1] / 2, right(dy, s)[2]),
    "factor",
)

# --- l2_normalize


def l2_normalize(name, f, *families):
    case(f"l2_normalize: {name}", of_catalogue("l2_normalize"), given_right(f), *families)


def _along_y(dy, s):
    return np.sum(dy * s.y, axis=-1, keepdims=True)


l2_normalize("length taken for a constant", lambda right, dy, s: dy * s.r, "missing term")
l2_normalize(
    "mean for the sum in the projection",
    lambda right, dy, s: s.r * (dy - s.y * _along_y(dy, s) / 5),
    "missing term",
)
l2_normalize(
    "not divided by the length",
    lambda right, dy, s: dy - s.y * _along_y(dy, s),
    "missing factor",
)
l2_normalize("square of the length", lambda right, dy, s: right(dy, s) * s.r, "missing factor")

# --- contrastive_loss: dimage, dtext, dlog_scale


def contrastive_loss(name, f, *families):
    case(f"contrastive_loss: {name}", of_catalogue("contrastive_loss"), given_right(f), *families)


def _rows_alone(right, dy, s):
    """The cross-entropy of the images, twice, in place of both."""
    logits = s.a * s.image @ s.text.T
    p = F.softmax(logits)[0] - np.eye(len(logits))
    return right(dy, s._replace(g=2 * p))


def _of_scale(f):
    return lambda right, dy, s: (*right(dy, s)[:2], f(right(dy, s)[2], s))


contrastive_loss("rows alone", _rows_alone, "unrelated")
contrastive_loss(
    "texts as if they were images",
    lambda right, dy, s: (right(dy, s)[0], right(dy, s._replace(g=s.g.T))[1], right(dy, s)[2]),
    "unrelated",
)
contrastive_loss(
    "dimage and dtext exchanged",
    lambda right, dy, s: tuple(right(dy, s)[i] for i in (1, 0, 2)),
    "exchanged",
)
contrastive_loss(
    "the right answers forgotten",
    lambda right, dy, s: right(dy, s._replace(g=s.g + 2 * np.eye(len(s.g)))),
    "missing term",
)
contrastive_loss(
    "a sum for the mean of two", lambda r, dy, s: tuple(2 * g for g in r(dy, s)), "factor"
)
contrastive_loss("no mean over N", lambda r, dy, s: tuple(4 * g for g in r(dy, s)), "factor")
contrastive_loss("dy ignored", lambda r, dy, s: r(1.0, s), "missing factor", "not linear", "factor")
contrastive_loss(
    "scale forgotten",
    lambda right, dy, s: tuple(g / s.a for g in right(dy, s)),
    "factor",
    "missing factor",
)
contrastive_loss(
    "the scale for its logarithm", _of_scale(lambda g, s: g / s.a), "factor", "missing factor"
)

# --- ctc_loss


def ctc_loss(name, which, f, *families):
    example = of_catalogue(f"ctc_loss [{which}]" if which else "ctc_loss")
    case(f"ctc_loss: {name}", example, given_right(f), *families)


PADDED = "padded, a repeat, another blank"


def _of_logits(right, dy, s, inputs):
    """What PyTorch returns: the gradient of the logits, in place of that of log_softmax."""
    dx = right(dy, s)
    return dx - np.exp(inputs[0]) * np.sum(dx, axis=-1, keepdims=True)


def _beyond_the_input(right, dy, s):
    """The last step's gradient again at the steps that are no input."""
    dx = right(dy, s)
    at = np.minimum(np.arange(dx.shape[1]), s.input_lengths[:, None] - 1)
    return np.take_along_axis(dx, at[..., None], axis=1)


def _beta_alone(right, dy, s):
    """As if all states could be reached alike, and the ways on from them decided."""
    return right(dy, s._replace(alpha=np.zeros_like(s.alpha)))


case(
    "ctc_loss: of the logits",
    of_catalogue("ctc_loss"),
    keeping_inputs(_of_logits),
    "unrelated",
)
ctc_loss("ways to a state forgotten", "", _beta_alone, "unrelated")
ctc_loss("beyond the input", PADDED, _beyond_the_input, "one slice", "mask", "not zero")
ctc_loss(
    "steps that pass over a blank forgotten",
    "",
    lambda right, dy, s: right(dy, s._replace(skips=np.zeros_like(s.skips))),
    "one slice",
)
ctc_loss(
    "lengths of targets forgotten",
    "",
    lambda right, dy, s: 2 * right(dy, s),
    "factor",
)
ctc_loss(
    "one length for all targets",
    PADDED,
    lambda right, dy, s: right(dy, s) * np.maximum(s.target_lengths, 1)[:, None, None],
    "one slice",
    "missing factor",
)
ctc_loss("a sum over the batch", PADDED, lambda right, dy, s: 3 * right(dy, s), "factor")
ctc_loss("sign", "", lambda right, dy, s: -right(dy, s), "sign")
ctc_loss("reversed in time", "", lambda right, dy, s: right(dy, s)[:, ::-1].copy(), "permuted")
ctc_loss("dy ignored", PADDED, lambda right, dy, s: right(1.0, s), "missing factor", "not linear")

# --- rnn and lstm


def recurrent(name, f, *families):
    case(name, of_catalogue(name.partition(":")[0]), given_right(f), *families)


def _step_by_step(right, dy, s):
    """As if no state went into the step after it: each dy alone, and nothing handed back."""
    totals = None
    for t in range(dy.shape[-2]):
        alone = np.zeros_like(dy)
        alone[..., t, :] = dy[..., t, :]
        gradients = [g.copy() for g in right(alone, s)]
        gradients[0][..., :t, :] = 0
        totals = (
            gradients if totals is None else [a + b for a, b in zip(totals, gradients, strict=True)]
        )
    return tuple(totals)


for op, rest in (("rnn", 1), ("lstm", 2)):
    recurrent(f"{op}: each step alone", _step_by_step, "missing paths")
    recurrent(
        f"{op}: the first state forgotten in dR",
        lambda right, dy, s, rest=rest: tuple(
            right(dy, s._replace(h0=np.zeros_like(s.h0)))[i] if i == rest + 2 else g
            for i, g in enumerate(right(dy, s))
        ),
        "missing paths",
    )
    recurrent(
        f"{op}: reversed in time",
        lambda right, dy, s: (right(dy, s)[0][..., ::-1, :].copy(), *right(dy, s)[1:]),
        "permuted",
    )
    recurrent(
        f"{op}: one bias alone has a gradient",
        lambda right, dy, s: (*right(dy, s)[:-1], np.zeros_like(right(dy, s)[-1])),
        "zero",
    )
    recurrent(
        f"{op}: biases a mean over the batch",
        lambda right, dy, s: (*right(dy, s)[:-2], *(g / 2 for g in right(dy, s)[-2:])),
        "factor",
    )


def _gates_in_another_order(right, dy, s):
    """i, f, o, g: two blocks of rows in each other's place."""
    order = np.r_[0:6, 9:12, 6:9]
    return *right(dy, s)[:3], *(g[order] for g in right(dy, s)[3:])


def _with_gate(which, value):
    def wrong(right, dy, s):
        gates = s.gates.copy()
        gates[..., 3 * which : 3 * which + 3] = value
        return right(dy, s._replace(gates=gates))

    return wrong


recurrent("lstm: gates in another order", _gates_in_another_order, "one slice")
recurrent("lstm: cells as if always kept", _with_gate(1, 1.0), "missing paths")
recurrent("lstm: cells as if never kept", _with_gate(1, 0.0), "missing paths")
recurrent(
    "lstm: dh0 and dc0 exchanged",
    lambda right, dy, s: tuple(right(dy, s)[i] for i in (0, 2, 1, 3, 4, 5, 6)),
    "exchanged",
)
recurrent(
    "rnn: slope forgotten",
    lambda right, dy, s: right(dy, s._replace(y=np.zeros_like(s.y))),
    "unrelated",
)

# --- functions made for the purpose


def residual(x):
    return x + np.tanh(x), np.tanh(x)


RESIDUAL = of_pair(residual, lambda dy, t: dy + dy * (1 - t * t), (2, 3))
case("residual: dropped", RESIDUAL, backward(lambda dy, t: dy * (1 - t * t)), "missing term")
twice = backward(lambda dy, t: 2 * dy + dy * (1 - t * t))
case("residual: counted twice", RESIDUAL, twice, "missing term")


def product(a, b):
    return a * b, (a, b)


PRODUCT = of_pair(product, lambda dy, s: (dy * s[1], dy * s[0]), (3, 4), (3, 4))
case(
    "product: exchanged",
    PRODUCT,
    backward(lambda dy, s: (dy * s[0], dy * s[1])),
    "exchanged",
)
case(
    "product: a factor forgotten",
    PRODUCT,
    backward(lambda dy, s: (dy * s[1], dy * 1.0)),
    "missing factor",
)


def mean_square(x):
    return np.mean(x * x), x


MEAN = of_pair(mean_square, lambda dy, x: 2 * dy * x / x.size, (3, 4))
case("mean: division forgotten", MEAN, backward(lambda dy, x: 2 * dy * x), "factor")
case("mean: over the batch only", MEAN, backward(lambda dy, x: 2 * dy * x / len(x)), "factor")
case("mean: two forgotten", MEAN, backward(lambda dy, x: dy * x / x.size), "factor")
case("mean: dy ignored", MEAN, backward(lambda dy, x: 2 * x / x.size), "missing factor")


def shifted(x, shift):
    return np.tanh(x + shift), np.tanh(x + shift)


def _shifted_backward(dy, t):
    d = dy * (1 - t * t)
    return d, np.sum(d, axis=0)


def _broadcast_axis_kept(right, dy, t):
    d, dshift = right(dy, t)
    return np.broadcast_to(dshift, d.shape).copy(), dshift


SHIFTED = of_pair(shifted, _shifted_backward, (3, 4), (4,))
case("shift: the sum repeated in dx", SHIFTED, given_right(_broadcast_axis_kept), "reduction")
