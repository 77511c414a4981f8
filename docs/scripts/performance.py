"""Measure what each trick of docs/performance.md gains, and what others would, as its two tables.

    python docs/scripts/performance.py taken|not-taken [--repeats 15]

Every line times two ways side by side in one process, in turn, on one thread, at the sizes that a
training step has; shown are medians and their ratio. First both are checked to give the same
numbers. In the table of tricks taken they are the plain way and the library's own; in the other the
library's own and one that was tried, and not taken.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import numpy as np

import npformer
import npformer.functional as F
from npformer import masks
from npformer.core.parameter import Parameter
from npformer.functional import _elementwise
from npformer.functional.embedding import embedding_rows_backward
from npformer.training import AdamW
from npformer.training.clipping import grad_norm

npformer.set_num_threads(1)
RNG = np.random.default_rng(0)
TOKENS, WIDTH, INNER, VOCAB = 2048, 384, 1536, 50257


class Trick(NamedTuple):
    """Two ways to the same numbers."""

    name: str
    plain: Callable[[], object]
    ours: Callable[[], object]
    close: float = 1e-4  # how far apart they may be, relative to the largest number


def normal(*shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def whole_array(f, *arguments):
    """Run an activation over its whole argument at once."""

    def run():
        usual, _elementwise.PIECE_BYTES = _elementwise.PIECE_BYTES, 1 << 40
        try:
            return f(*arguments)
        finally:
            _elementwise.PIECE_BYTES = usual

    return run


def activations():
    x, dy = normal(TOKENS, INNER), normal(TOKENS, INNER)
    yield Trick("ReLU by clip", lambda: np.maximum(x, 0), lambda: F.relu(x)[0])
    for name, op, back in (
        ("GELU", F.gelu, F.gelu_backward),
        ("SiLU", F.silu, F.silu_backward),
    ):

        def both_ways(op=op, back=back):
            y, saved = op(x)
            return y, back(dy, saved)

        yield Trick(f"{name} in pieces of 512 KiB", whole_array(both_ways), both_ways)


def norms():
    x, w, dy = normal(TOKENS, WIDTH), normal(WIDTH), normal(TOKENS, WIDTH)

    def plain_forward():
        c = x - np.mean(x, axis=-1, keepdims=True)
        r = 1 / np.sqrt(np.mean(c * c, axis=-1, keepdims=True) + np.float32(1e-5))
        xhat = c * r
        return xhat * w, (xhat, r)

    _, (xhat, r) = plain_forward()

    def plain_backward():
        dxhat = dy * w
        along = np.mean(dxhat * xhat, axis=-1, keepdims=True)
        dx = (dxhat - np.mean(dxhat, axis=-1, keepdims=True) - xhat * along) * r
        return dx, np.sum(dy * xhat, axis=0)

    _, saved = F.layer_norm(x, w)
    name = "LayerNorm with sums as products"
    yield Trick(f"{name}, forward", lambda: plain_forward()[0], lambda: F.layer_norm(x, w)[0])
    yield Trick(f"{name}, backward", plain_backward, lambda: F.layer_norm_backward(dy, saved)[:2])


def softmaxes():
    x, dy = normal(3 * TOKENS, 256), normal(3 * TOKENS, 256)

    def plain_forward():
        e = np.exp(x - np.max(x, axis=-1, keepdims=True))
        return e / np.sum(e, axis=-1, keepdims=True)

    y, saved = F.softmax(x)

    def plain_backward():
        return y * (dy - np.sum(dy * y, axis=-1, keepdims=True))

    yield Trick("softmax in place, forward", plain_forward, lambda: F.softmax(x)[0])
    name = "softmax with sums of products, backward"
    yield Trick(name, plain_backward, lambda: F.softmax_backward(dy, saved))


def embeddings():
    ids, weight = RNG.integers(0, VOCAB, (4, 64)), normal(VOCAB, WIDTH)
    dy, (_, saved) = normal(4, 64, WIDTH), F.embedding(ids, weight)
    tied = Parameter(weight)  # which has the output layer's gradient already
    tied.grad = np.zeros_like(weight)

    def dense():
        tied.grad[...] = 0
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, dy)
        tied.add_grad(dweight)
        return tied.grad.copy()

    def rows_alone():
        tied.grad[...] = 0
        tied.add_grad_at(*embedding_rows_backward(dy, saved))
        return tied.grad.copy()

    yield Trick("a tied embedding's gradient, only rows that occur", dense, rows_alone)
    small, few = normal(65, WIDTH), RNG.integers(0, 65, (8, 256))
    many, (_, kept) = normal(8, 256, WIDTH), F.embedding(few, small)

    def add_at_small():
        dweight = np.zeros_like(small)
        np.add.at(dweight, few, many)
        return dweight

    name = "the same by sorting, 65 symbols"
    yield Trick(name, add_at_small, lambda: F.embedding_backward(many, kept))


def losses():
    for tokens, vocab, name in (
        (256, VOCAB, "loss over 50,257 words, 256 tokens, with one matrix of them, not three"),
        (4096, 4096, "loss over 4,096 words, 4,096 tokens, with no such matrix"),
    ):
        x, w = normal(tokens, WIDTH), normal(vocab, WIDTH) * 0.1
        targets = RNG.integers(0, vocab, tokens)
        yield Trick(name, partial(whole_loss, x, w, targets), partial(joint_loss, x, w, targets))


def whole_loss(x, w, targets):
    logits, linear_saved = F.linear(x, w)
    loss, saved = F.cross_entropy(logits, targets)
    dx, dw, _ = F.linear_backward(F.cross_entropy_backward(1.0, saved), linear_saved)
    return loss, dx, dw


def joint_loss(x, w, targets):
    loss, saved = F.linear_cross_entropy(x, w, targets)
    return loss, *F.linear_cross_entropy_backward(1.0, saved)


def attention():
    q, k, v, dy = (normal(8, 1024, 64) for _ in range(4))

    def by(method):
        def both_ways():
            y, saved = F.attention(q, k, v, mask=masks.causal(), method=method)
            return y, *F.attention_backward(dy, saved)[:3]

        return both_ways

    yield Trick("causal attention in tiles, 8 x 1,024", by("textbook"), by("tiled"))


def optimizers():
    start = [normal(4 * 768, 768) for _ in range(8)]
    gradients = [normal(4 * 768, 768) for _ in range(8)]

    def parameters():
        found = [Parameter(value.copy()) for value in start]
        for parameter, gradient in zip(found, gradients, strict=True):
            parameter.grad = gradient.copy()
        return found

    whole, pieces = parameters(), parameters()
    m, v = ([np.zeros_like(p.value) for p in whole] for _ in range(2))
    count = [0]
    optimizer = AdamW(pieces, lr=1e-3, weight_decay=0.1)

    def plain():
        count[0] += 1
        norm = np.sqrt(sum(float(np.sum(p.grad**2)) for p in whole))
        for p, mean, square in zip(whole, m, v, strict=True):
            g = p.grad * (1 / norm)
            p.value -= 1e-3 * 0.1 * p.value
            mean[...] = 0.9 * mean + 0.1 * g
            square[...] = 0.999 * square + 0.001 * g**2
            mh, vh = mean / (1 - 0.9 ** count[0]), square / (1 - 0.999 ** count[0])
            p.value -= 1e-3 * mh / (np.sqrt(vh) + 1e-8)
        return whole[0].value, whole[-1].value

    def ours():
        optimizer.step(1 / grad_norm([("", p) for p in pieces]))
        return pieces[0].value, pieces[-1].value

    yield Trick("norm, clipping and AdamW over 19 M entries", plain, ours)


def in_chunks(f, shape):
    """Return an array that `f` has filled in chunks of rows, of 512 KiB each."""
    y = np.empty(shape, np.float32)
    step = max(1, (1 << 19) // y[0].nbytes)
    for start in range(0, len(y), step):
        f(slice(start, start + step), y[start : start + step])
    return y


def chunks():
    """Softmax, norms, residuals and biases in chunks of rows, at the sizes of the three steps."""
    for size, tokens, width, scores in (
        ("nanoGPT", 768, 128, (3072, 64)),
        ("baby GPT", 2048, 384, (12288, 256)),
        ("GPT-2", 256, 768, (3072, 64)),
    ):
        yield from softmax_chunks(size, normal(*scores), normal(*scores))
        x, branch, gain = normal(tokens, width), normal(tokens, width), normal(width)

        def norm_part(rows, y, x=x, gain=gain):
            y[...] = F.layer_norm(x[rows], gain)[0]

        def residual_part(rows, y, x=x, branch=branch):
            np.add(x[rows], branch[rows], out=y)

        yield Trick(
            f"LayerNorm in chunks, forward, {size}",
            lambda x=x, gain=gain: F.layer_norm(x, gain)[0],
            partial(in_chunks, norm_part, x.shape),
        )
        yield Trick(
            f"a residual in chunks, {size}", partial(np.add, x, branch),
            partial(in_chunks, residual_part, x.shape),
        )  # fmt: skip
        weight, bias, dy = normal(4 * width, width), normal(4 * width), normal(tokens, 4 * width)

        def linear_part(rows, y, x=x, weight=weight, bias=bias):
            np.matmul(x[rows], weight.T, out=y)
            y += bias

        yield Trick(
            f"a product and its bias in chunks, {size}",
            lambda x=x, weight=weight, bias=bias: F.linear(x, weight, bias)[0],
            partial(in_chunks, linear_part, dy.shape),
        )


def softmax_chunks(size, x, dy):
    y, saved = F.softmax(x)

    def forward_part(rows, y):
        y[...] = F.softmax(x[rows])[0]

    def backward_part(rows, dx):
        np.subtract(dy[rows], np.einsum("ij,ij->i", dy[rows], y[rows])[:, None], out=dx)
        dx *= y[rows]

    yield Trick(
        f"softmax in chunks, forward, {size}", lambda: F.softmax(x)[0],
        partial(in_chunks, forward_part, x.shape),
    )  # fmt: skip
    yield Trick(
        f"softmax in chunks, backward, {size}", lambda: F.softmax_backward(dy, saved),
        partial(in_chunks, backward_part, x.shape),
    )  # fmt: skip


def joint_projections():
    """Put the three matrices of attention together each time, for one product in place of three."""
    for size, tokens, width in (("nanoGPT", 768, 128), ("baby GPT", 2048, 384)):
        x, weights = normal(tokens, width), [normal(width, width) for _ in range(3)]
        dys = [normal(tokens, width) for _ in range(3)]

        def apart(x=x, weights=weights, dys=dys):
            ys, saved = zip(*(F.linear(x, weight) for weight in weights), strict=True)
            back = [F.linear_backward(dy, kept) for dy, kept in zip(dys, saved, strict=True)]
            return *ys, sum(dx for dx, _, _ in back), *(dweight for _, dweight, _ in back)

        def joined(x=x, weights=weights, dys=dys):
            y, saved = F.linear(x, np.concatenate(weights))
            dx, dweight, _ = F.linear_backward(np.concatenate(dys, axis=-1), saved)
            return *np.split(y, 3, axis=-1), dx, *np.split(dweight, 3)

        yield Trick(f"queries, keys, values by one product, {size}", apart, joined)


def check(trick):
    """Refuse to time two ways that do not agree."""
    both = trick.plain(), trick.ours()
    plain, ours = (result if isinstance(result, tuple) else (result,) for result in both)
    for a, b in zip(plain, ours, strict=True):
        gap = np.max(np.abs(a - b)) / np.max(np.abs(a))
        assert gap < trick.close, f"{trick.name}: the two ways differ by {gap:.1e}"


def seconds(way):
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("taken", "not-taken"))
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    if arguments.table == "taken":
        names = "trick | plain | npformer"
        made = activations, norms, softmaxes, embeddings, losses, attention, optimizers
    else:
        names = "not taken | npformer | this way"
        made = chunks, joint_projections
    print(f"| {names} | times as fast |\n|---|---:|---:|---:|")
    for tricks in made:
        measure(tricks, arguments.repeats)


def measure(tricks, repeats):
    """Print a row for each."""
    for trick in tricks():
        check(trick)
        pairs = [(seconds(trick.plain), seconds(trick.ours)) for _ in range(repeats)]
        plain, ours = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {trick.name} | {plain:.2f} ms | {ours:.2f} ms | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
