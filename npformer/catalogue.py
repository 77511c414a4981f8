"""One worked example of every operation, layer and model, several where options matter.

The contract tests and the gradient checks run over all of them, and a test fails when an
operation or a layer has none. They are also the shortest way to see how each thing is called.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import biases, layers, masks, models
from . import functional as F
from .core.arrays import Array, real_dtype
from .core.layer import Layer
from .core.run import Run

Pair = tuple[Callable[..., tuple[Any, Any]], Callable[[Any, Any], Any]]


@dataclass(frozen=True)
class Example:
    """A target with inputs that suit it.

    Attributes
    ----------
    subject : str
        The operation, layer or model that this is an example of.
    case : str
        What is special about it; empty for the plain one.
    target : Layer or (forward, backward)
    inputs : tuple
        Positional arguments of its forward. Float arrays are standard normal where that suits,
        ids in range.
    options : dict
        Keyword arguments of its forward.
    seed : int or None
        If given, forward runs with a generator of this seed, so that dropout acts.
    """

    subject: str
    case: str
    target: Layer | Pair
    inputs: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None

    @property
    def name(self) -> str:
        """Subject and case, such as ``"attention [causal]"``."""
        return f"{self.subject} [{self.case}]" if self.case else self.subject

    def run(self) -> Run | None:
        """Return a fresh run, the same each time; None if dropout does not act."""
        return None if self.seed is None else Run(rng=np.random.default_rng(self.seed))

    def forward(self, *inputs: Any) -> tuple[Any, Any]:
        """Run forward on `inputs`, or on the example's own."""
        inputs = inputs or self.inputs
        if isinstance(self.target, Layer):
            y, saved = self.target.forward(*inputs, **self.options, run=self.run())
        else:
            y, saved = self.target[0](*inputs, **self.options)
        return y, saved

    def backward(self, dy: Any, saved: Any) -> tuple[Array, ...]:
        """Return the gradients of the float inputs, always as a tuple and without the Nones."""
        if isinstance(self.target, Layer):
            gradients = self.target.backward(dy, saved)
        else:
            gradients = self.target[1](dy, saved)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return tuple(g for g in gradients if g is not None)


def examples(seed: int = 0, dtype: DTypeLike = np.float64) -> list[Example]:
    """Return all examples, drawn anew.

    Parameters
    ----------
    seed : int, optional
        Of the inputs and weights.
    dtype : float32 or float64, optional
        Of the inputs and weights.

    Returns
    -------
    list of Example
        Their names are unique, and the same whatever the seed and dtype.
    """
    draw = _Draw(seed, real_dtype("examples", dtype))
    return [*_operations(draw), *_layers(draw), *_models(draw)]


class _Draw:
    """Where inputs come from."""

    def __init__(self, seed: int, dtype: np.dtype[Any]) -> None:
        self.rng = np.random.default_rng([seed, 0])  # of inputs
        self.weights = np.random.default_rng([seed, 1])  # apart, for it depends on the dtype
        self.dtype = dtype

    def __call__(self, *shape: int) -> Array:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def ids(self, high: int, *shape: int) -> Array:
        return self.rng.integers(0, high, shape)


def _operations(draw: _Draw) -> Iterator[Example]:
    linear = F.linear, F.linear_backward
    yield Example("linear", "", linear, (draw(2, 3, 4), draw(5, 4), draw(5)))
    yield Example("linear", "no bias, one vector", linear, (draw(4), draw(5, 4)))
    yield from _convolutions(draw)

    rectangle = draw(2, 3, 4)
    for name in ("relu", "quick_gelu", "silu", "sigmoid", "tanh"):
        yield Example(name, "", (getattr(F, name), getattr(F, f"{name}_backward")), (rectangle,))
    for which in ("none", "tanh"):
        gelu: Pair = _with(F.gelu, approximate=which), F.gelu_backward
        yield Example("gelu", f"approximate={which}", gelu, (draw(2, 3, 4),))
    yield Example("swiglu", "", (F.swiglu, F.swiglu_backward), (draw(2, 3, 4), draw(2, 3, 4)))

    for name in ("softmax", "log_softmax"):
        pair: Pair = getattr(F, name), getattr(F, f"{name}_backward")
        yield Example(name, "", pair, (draw(2, 3, 4),))
        yield Example(name, "axis 0", (_with(pair[0], axis=0), pair[1]), (draw(3, 2),))

    layer_norm = F.layer_norm, F.layer_norm_backward
    yield Example("layer_norm", "", layer_norm, (draw(2, 3, 5), draw(5), draw(5)))
    yield Example("layer_norm", "no bias, one vector", layer_norm, (draw(5), draw(5)))
    rms_norm = F.rms_norm, F.rms_norm_backward
    yield Example("rms_norm", "", rms_norm, (draw(2, 3, 5), draw(5)))
    l2_normalize = F.l2_normalize, F.l2_normalize_backward
    yield Example("l2_normalize", "", l2_normalize, (draw(2, 3, 5),))

    embedding = F.embedding, F.embedding_backward
    yield Example("embedding", "", embedding, (draw.ids(4, 2, 5), draw(6, 3)))
    at = np.array([[0, 1, 2], [7, 3, 1]])
    waves = F.sinusoidal, F.sinusoidal_backward
    yield Example("sinusoidal", "", waves, (draw(2, 3, 4), at))
    halves = _with(F.sinusoidal, layout="halves"), F.sinusoidal_backward
    yield Example("sinusoidal", "layout=halves", halves, (draw(3, 4), np.arange(3)))
    yield Example("rotary", "", (F.rotary, F.rotary_backward), (draw(2, 3, 4), at))
    interleaved = _with(F.rotary, interleaved=True), F.rotary_backward
    yield Example("rotary", "interleaved", interleaved, (draw(2, 3, 6), at))

    dropout = _seeded(lambda x, rng: F.dropout(x, 0.4, rng)), F.dropout_backward
    yield Example("dropout", "", dropout, (draw(3, 4, 5),))
    evaluation = (lambda x: F.dropout(x, 0.4, None)), F.dropout_backward
    yield Example("dropout", "no generator", evaluation, (draw(3, 4),))

    yield from _attentions(draw)
    yield from _linear_attentions(draw)
    yield from _recurrences(draw)

    cross_entropy = F.cross_entropy, F.cross_entropy_backward
    yield Example("cross_entropy", "", cross_entropy, (draw(2, 3, 5), draw.ids(5, 2, 3)))
    targets = np.array([0, -100, 4, 4, -100])
    smoothed = _with(F.cross_entropy, label_smoothing=0.2), F.cross_entropy_backward
    yield Example("cross_entropy", "smoothed, some ignored", smoothed, (draw(5, 6), targets))
    yield from _linear_cross_entropies(draw)
    contrastive: Pair = F.contrastive_loss, F.contrastive_loss_backward
    yield Example("contrastive_loss", "", contrastive, (draw(4, 3), draw(4, 3), draw()))
    yield from _ctc_losses(draw)


def _convolutions(draw: _Draw) -> Iterator[Example]:
    back = F.conv1d_backward
    yield Example("conv1d", "", (F.conv1d, back), (draw(2, 6, 3), draw(4, 3, 3), draw(4)))
    strided = _with(F.conv1d, stride=2, padding=1), back
    yield Example("conv1d", "stride, padding", strided, (draw(2, 6, 3), draw(4, 3, 3), draw(4)))
    # The windows leave gaps, the left padding is wider than one, and the last position is unused.
    gaps = _with(F.conv1d, stride=3, padding=(4, 0)), back
    yield Example("conv1d", "no bias, one sequence", gaps, (draw(6, 3), draw(4, 3, 2)))


def _recurrences(draw: _Draw) -> Iterator[Example]:
    rnn: Pair = F.rnn, F.rnn_backward
    # Halved, so that few states saturate: of 1 - h^2 float32 then has few digits.
    weights = draw(3, 4) / 2, draw(3, 3) / 2, draw(3) / 2, draw(3) / 2
    yield Example("rnn", "", rnn, (draw(2, 3, 4), draw(2, 3), *weights))
    yield Example("rnn", "no biases, one sequence", rnn, (draw(5, 4), draw(3), *weights[:2]))
    lstm: Pair = F.lstm, F.lstm_backward
    weights = draw(12, 4) / 2, draw(12, 3) / 2, draw(12) / 2, draw(12) / 2
    yield Example("lstm", "", lstm, (draw(2, 3, 4), draw(2, 3), draw(2, 3), *weights))
    alone = draw(5, 4), draw(3), draw(3), *weights[:2]
    yield Example("lstm", "no biases, one sequence", lstm, alone)


def _ctc_losses(draw: _Draw) -> Iterator[Example]:
    op, back = F.ctc_loss, F.ctc_loss_backward
    log_probs = F.log_softmax(draw(2, 4, 3))[0]
    lengths = np.array([4, 4]), np.array([2, 2])
    yield Example("ctc_loss", "", (op, back), (log_probs, np.array([[1, 2], [2, 1]]), *lengths))
    # A repeat, one class and none, in inputs of different lengths; what is beyond is no class.
    targets = np.array([[2, 0, 0], [0, -1, -1], [9, 9, 9]])
    lengths = np.array([6, 3, 4]), np.array([3, 1, 0])
    scores = F.log_softmax(draw(3, 6, 4))[0]
    padded = _with(op, blank=1), back
    yield Example(
        "ctc_loss", "padded, a repeat, another blank", padded, (scores, targets, *lengths)
    )


def _linear_cross_entropies(draw: _Draw) -> Iterator[Example]:
    op, back = F.linear_cross_entropy, F.linear_cross_entropy_backward
    head = draw(2, 3, 4), draw(5, 4), draw.ids(5, 2, 3)
    yield Example("linear_cross_entropy", "", (op, back), head)
    smoothed = _with(op, label_smoothing=0.2), back
    some = draw(5, 3), draw(6, 3), np.array([0, -100, 4, 4, -100])
    yield Example("linear_cross_entropy", "smoothed, some ignored", smoothed, some)


def _attentions(draw: _Draw) -> Iterator[Example]:
    back = F.attention_backward

    def qkv(*lead: int, n_q: int = 3, n_k: int = 5) -> tuple[Array, Array, Array]:
        return draw(*lead, n_q, 4), draw(*lead, n_k, 4), draw(*lead, n_k, 6)

    yield Example("attention", "", (F.attention, back), qkv(2, 2))
    yield Example("attention", "no leading axes, one key", (F.attention, back), qkv(n_q=2, n_k=1))
    causal = _with(F.attention, mask=masks.causal()), back
    yield Example("attention", "causal", causal, qkv(2, n_q=4, n_k=4))
    # The first entry has no keys at all: its rows are dead.
    padded = _with(F.attention, mask=masks.causal() & masks.padding(np.array([0, 4]))), back
    yield Example("attention", "causal and padded, dead rows", padded, qkv(2, 2, n_q=5))
    grouped = F.attention, back
    keys = draw(2, 2, 1, 5, 4), draw(2, 2, 1, 5, 3)
    yield Example("attention", "grouped queries", grouped, (draw(2, 2, 3, 4, 4), *keys))
    biased: Pair = (lambda q, k, v, bias: F.attention(q, k, v, bias=bias, scale=0.7)), back
    yield Example("attention", "bias, scale", biased, (*qkv(2, 3), draw(3, 1, 5)))
    dropped = _seeded(lambda q, k, v, rng: F.attention(q, k, v, dropout=0.3, rng=rng)), back
    yield Example("attention", "dropout", dropped, qkv(2, 2))


def _linear_attentions(draw: _Draw) -> Iterator[Example]:
    back = F.linear_attention_backward

    def qkv(*lead: int, n_q: int = 3, n_k: int = 5) -> tuple[Array, Array, Array]:
        return draw(*lead, n_q, 4), draw(*lead, n_k, 4), draw(*lead, n_k, 6)

    yield Example("linear_attention", "", (F.linear_attention, back), qkv(2, 2))
    one = qkv(n_q=2, n_k=1)
    yield Example("linear_attention", "no leading axes, one key", (F.linear_attention, back), one)
    causal = _with(F.linear_attention, causal=True), back
    yield Example("linear_attention", "causal", causal, qkv(2, n_q=4, n_k=4))
    # The first entry has no keys at all; in both, the first query stands before all keys.
    real = np.array([[False] * 4, [True, False, True, True]])[:, None]
    masked = _with(F.linear_attention, causal=True, key_mask=real), back
    yield Example("linear_attention", "masked, dead rows", masked, qkv(2, 2, n_q=5, n_k=4))
    grouped = F.linear_attention, back
    keys = draw(2, 2, 1, 5, 4), draw(2, 2, 1, 5, 3)
    yield Example("linear_attention", "grouped queries", grouped, (draw(2, 2, 3, 4, 4), *keys))


def _layers(draw: _Draw) -> Iterator[Example]:
    new: dict[str, Any] = {"rng": draw.weights, "dtype": draw.dtype}
    yield Example("Linear", "", layers.Linear(4, 5, **new), (draw(2, 3, 4),))
    yield Example("Linear", "no bias", layers.Linear(4, 5, bias=False, **new), (draw(4),))
    convolution = layers.Conv1d(3, 4, 3, stride=2, padding=1, **new)
    yield Example("Conv1d", "", convolution, (draw(2, 6, 3),))
    to_the_left = layers.Conv1d(3, 4, 3, padding="causal", bias=False, **new)
    yield Example("Conv1d", "causal, no bias", to_the_left, (draw(2, 5, 3),))
    yield Example("Embedding", "", layers.Embedding(6, 3, **new), (draw.ids(4, 2, 5),))
    yield Example("LayerNorm", "", layers.LayerNorm(5, **new), (draw(2, 3, 5),))
    no_bias = layers.LayerNorm(5, bias=False, **new)
    yield Example("LayerNorm", "no bias", no_bias, (draw(2, 3, 5),))
    yield Example("RMSNorm", "", layers.RMSNorm(5, **new), (draw(2, 3, 5),))
    yield Example("Dropout", "", layers.Dropout(0.4, **new), (draw(2, 3, 5),), seed=1)
    yield Example("Dropout", "no generator", layers.Dropout(0.4), (draw(2, 3, 5),))
    sines = layers.SinusoidalPositionalEncoding(4, **new)
    yield Example("SinusoidalPositionalEncoding", "", sines, (draw(2, 3, 4),))
    learned = layers.LearnedPositionalEncoding(4, 6, **new)
    yield Example("LearnedPositionalEncoding", "", learned, (draw(2, 3, 4),))
    at = np.array([[0, 1, 2], [5, 3, 1]])
    yield Example("LearnedPositionalEncoding", "positions given", learned, (draw(2, 3, 4), at))
    for activation in ("relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "swiglu"):
        dropout = 0.3 if activation in ("gelu", "swiglu") else 0.0
        feed = layers.FeedForward(4, 6, activation, dropout=dropout, **new)
        seed = 1 if dropout else None
        yield Example("FeedForward", activation, feed, (draw(2, 3, 4),), seed=seed)

    attention = layers.MultiHeadAttention(8, 2, **new)
    yield Example("MultiHeadAttention", "", attention, (draw(2, 3, 8),))
    cross = (draw(2, 3, 8), draw(2, 4, 8))
    yield Example("MultiHeadAttention", "cross", attention, cross)
    yield Example("MultiHeadAttention", "one vector", attention, (draw(1, 8),))
    without = layers.MultiHeadAttention(8, 2, key_bias=False, **new)
    yield Example("MultiHeadAttention", "no bias of keys", without, (draw(2, 3, 8),))
    options: dict[str, Any] = {"mask": masks.causal() & masks.padding(np.array([2, 4]))}
    dropped = layers.MultiHeadAttention(8, 2, dropout=0.3, **new)
    causal = (draw(2, 4, 8),)
    yield Example("MultiHeadAttention", "causal, dropout", dropped, causal, options, seed=1)
    grouped = layers.MultiHeadAttention(8, 4, 2, bias=False, rotary_base=100.0, **new)
    options = {
        "mask": masks.causal() & draw.rng.integers(0, 2, (2, 4, 3, 3)).astype(bool),
        "bias": draw(4, 3, 3),
        "positions": np.array([[0, 1, 2], [5, 6, 7]]),
    }
    subject = "MultiHeadAttention"
    yield Example(subject, "grouped, rotary, masked", grouped, (draw(2, 3, 8),), options)

    yield from _linear_attention_layers(draw, new)
    yield Example("RNN", "", layers.RNN(4, 3, **new), (draw(2, 3, 4),))
    simple = layers.RNN(4, 3, bias=False, **new)
    yield Example("RNN", "no bias, state given", simple, (draw(2, 3, 4), draw(2, 3)))
    yield Example("LSTM", "", layers.LSTM(4, 3, **new), (draw(2, 3, 4),))
    cells = layers.LSTM(4, 3, bias=False, **new)
    states = draw(2, 3), draw(2, 3)
    yield Example("LSTM", "no bias, states given", cells, (draw(2, 3, 4), *states))

    for position, depth in (("pre", 2), ("post", 1)):
        block = layers.EncoderLayer(4, 2, 6, norm_position=position, dropout=0.2, **new)
        yield Example("EncoderLayer", position, block, (draw(2, 3, 4),), seed=1)
        decoder = layers.DecoderLayer(4, 2, 6, norm_position=position, dropout=0.2, **new)
        yield Example("DecoderLayer", position, decoder, (draw(2, 3, 4), draw(2, 4, 4)), seed=1)
        stack = layers.Encoder(depth, 4, 2, 6, norm_position=position, activation="gelu", **new)
        yield Example("Encoder", position, stack, (draw(2, 3, 4),))
        more = {"norm": "rms", "activation": "silu", **new}
        tower = layers.Decoder(depth, 4, 2, 6, norm_position=position, **more)
        padded = {"memory_mask": np.array([[True, True, False], [True] * 3])[:, None, None]}
        yield Example("Decoder", position, tower, (draw(2, 2, 4), draw(2, 3, 4)), padded)

    again = layers.Checkpoint(layers.EncoderLayer(4, 2, 6, dropout=0.2, **new))
    yield Example("Checkpoint", "", again, (draw(2, 3, 4),), seed=1)
    rotary = layers.DecoderLayer(4, 2, 6, dropout=0.2, rotary_base=100.0, **new)
    twice = layers.Checkpoint(layers.Checkpoint(rotary))
    options = {"mask": masks.padding(np.array([2, 3])), "positions": np.arange(3) + 2}
    pair = (draw(2, 3, 4), draw(2, 4, 4))
    yield Example("Checkpoint", "nested, two inputs, masked", twice, pair, options, seed=1)
    kept = {"dropout": 0.2, "checkpoint": True, "norm_position": "post", "final_norm": True, **new}
    stack = layers.Encoder(1, 4, 2, 6, **kept)
    yield Example("Encoder", "checkpoint, post and a final norm", stack, (draw(2, 3, 4),), seed=1)
    tower = layers.Decoder(1, 4, 2, 6, **kept)
    pair = (draw(2, 2, 4), draw(2, 3, 4))
    yield Example("Decoder", "checkpoint, post and a final norm", tower, pair, seed=1)

    for both in (True, False):
        relative = layers.RelativePositionBias(2, 6, 5, both, **new)
        case = "both directions" if both else "one direction"
        yield Example("RelativePositionBias", case, relative, (), {"n_q": 4, "n_k": 9})
    # What the table learns is handed to the bias's `learn`; attention itself keeps none of it.
    shared = layers.MultiHeadAttention(8, 4, 1, **new)
    options = {"bias": biases.relative(draw(6, 4), max_distance=5), "mask": masks.causal()}
    yield Example("MultiHeadAttention", "shared keys, T5's bias", shared, (draw(2, 3, 8),), options)


def _linear_attention_layers(draw: _Draw, new: dict[str, Any]) -> Iterator[Example]:
    plain = layers.LinearAttention(8, 2, **new)
    yield Example("LinearAttention", "", plain, (draw(2, 3, 8),))
    yield Example("LinearAttention", "cross", plain, (draw(2, 3, 8), draw(2, 4, 8)))
    causal = layers.LinearAttention(8, 2, causal=True, **new)
    yield Example("LinearAttention", "causal", causal, (draw(2, 4, 8),))
    grouped = layers.LinearAttention(8, 4, 2, bias=False, causal=True, **new)
    options = {"mask": np.array([[True, True, False], [False, True, True]])}
    yield Example("LinearAttention", "grouped, masked", grouped, (draw(2, 3, 8),), options)


def _models(draw: _Draw) -> Iterator[Example]:
    new: dict[str, Any] = {"rng": draw.weights, "dtype": draw.dtype}
    ids = draw.ids(7, 2, 4)
    gpt = models.GPT(models.GPTConfig(7, 5, 4, 2, 1, d_ff=6), **new)
    mask = np.array([[True] * 4, [False, True, True, True]])
    yield Example("GPT", "", gpt, (ids, mask))
    llama = models.GPTConfig(
        7, 5, 8, 4, 1, 6, 2, 0.2, False, "rms", activation="swiglu", position="rotary"
    )
    yield Example("GPT", "rotary, grouped, dropout", models.GPT(llama, **new), (ids,), seed=1)
    config = models.TransformerConfig(7, 5, 4, 2, 1, d_ff=6)
    transformer = models.Transformer(config, **new)
    yield Example("Transformer", "", transformer, (ids, draw.ids(7, 2, 3), mask), seed=1)
    config = models.TransformerConfig(
        *(7, 5, 4, 2, 1, 6),
        activation="silu",
        attention_dropout=0.3,
        sinusoid_layout="halves",
        logits_bias=True,
    )
    marian = models.Transformer(config, **new)
    yield Example("Transformer", "as Marian", marian, (ids, draw.ids(7, 2, 3), mask), seed=1)
    t5 = models.GPTConfig(
        7, 5, 4, 2, 1, 6, position="t5", relative_buckets=4, relative_distance=3, window=3
    )
    yield Example("GPT", "T5's bias, window", models.GPT(t5, **new), (ids, mask))
    base = models.GPT(models.GPTConfig(7, 5, 4, 2, 1, d_ff=6, head=False), **new)
    yield Example("GPT", "without a head", base, (ids, mask))
    reads = models.BERTConfig(7, 5, 4, 2, 1, 6, head=False, norm_eps=1e-5, dropout=0.0)
    yield Example("BERT", "", models.BERT(reads, **new), (ids,))
    bert, types = models.BERT(replace(reads, dropout=0.1), **new), draw.ids(2, 2, 4)
    yield Example("BERT", "types, mask, dropout", bert, (ids, types, mask), seed=1)
    hears = models.WhisperConfig(7, 5, 4, 2, 1, 6, n_mels=3, max_source_len=4, dropout=0.2)
    yield Example("Whisper", "", models.Whisper(hears, **new), (draw(2, 3, 5), ids), seed=1)
    spells = models.CTCConfig(5, 4, 2, 1, 6, n_mels=3, max_source_len=4, dropout=0.2)
    yield Example("CTC", "", models.CTC(spells, **new), (draw(2, 3, 5),), seed=1)
    yield from _clips(draw, new)


def _clips(draw: _Draw, new: dict[str, Any]) -> Iterator[Example]:
    small: dict[str, Any] = {"vocab_size": 7, "max_len": 5, "image_size": 4, "patch_size": 2}
    small |= {"num_channels": 2, "d_embed": 3, "image_d_ff": 5, "text_d_ff": 6}
    for tower in ("image", "text"):
        small |= {f"{tower}_d_model": 4, f"{tower}_num_heads": 2, f"{tower}_num_layers": 1}
    # Channels, patches and their pixels are not as many: 4, 3 x 3 and 2 x 2.
    larger = models.CLIPConfig(**{**small, "image_size": 6, "num_channels": 4})
    inputs = draw(2, 4, 6, 6), draw.ids(7, 2, 4)
    yield Example("CLIP", "", models.CLIP(larger, **new), inputs)
    other = models.CLIPConfig(**small, end_token=6, activation="gelu", dropout=0.2)
    ids = np.array([[1, 6, 3, 6], [6, 2, 6, 0]])
    mask = np.array([[True] * 4, [False, True, True, False]])
    padded = draw(2, 2, 4, 4), ids, mask
    yield Example("CLIP", "an end token, mask, dropout", models.CLIP(other, **new), padded, seed=1)


def _with(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return `forward` with keyword options filled in."""

    def filled(*inputs: Any) -> Any:
        return forward(*inputs, **options)

    return filled


def _seeded(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return `forward` with a fresh generator, the same each time, as its last argument."""

    def filled(*inputs: Any) -> Any:
        return forward(*inputs, np.random.default_rng(1))

    return filled
