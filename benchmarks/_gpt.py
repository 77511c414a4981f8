"""The GPTs that the benchmarks train: sizes, batch, step, and matmul arithmetic by formula.

A step is forward, backward, clipping to a common norm of 1, and AdamW with weight decay on
matrices alone, in float32, by what a user would write: a `Trainer` with its defaults.

    FLOPs = 6 N (L (4 D^2 + 2 D F) + V D) + 12 L B T^2 D       N = B T tokens

2 for each multiply-add, 3 products for one of the forward pass; the last term is attention, all
T^2 scores counted.
"""

import numpy as np

# name: (vocabulary, context, width, heads, layers, batch)
SIZES = {
    "tiny": (17, 8, 16, 2, 2, 3),  # for tests
    "nano": (65, 64, 128, 4, 4, 12),
    "baby": (65, 256, 384, 6, 6, 8),
    "gpt2": (50257, 64, 768, 12, 12, 4),
}
NAMES = {
    "tiny": "a GPT for tests",
    "nano": "nanoGPT's CPU recipe",
    "baby": "baby GPT",
    "gpt2": "GPT-2 small",
}
USUAL = ["nano", "baby", "gpt2"]
FORMULA = "6 N (L (4 D^2 + 2 D F) + V D) + 12 L B T^2 D, with N = B T tokens and F = 4 D"


def flops(size):
    """Return the matmul arithmetic of a step."""
    vocab, context, width, _, layers, batch = SIZES[size]
    tokens = batch * context
    linear = layers * (4 * width**2 + 2 * width * 4 * width) + vocab * width
    return 6 * tokens * linear + 12 * layers * batch * context**2 * width


def model_of(size):
    """Return the model, with the same values each time."""
    from npformer.models import GPT, GPTConfig

    vocab, context, width, heads, layers, _ = SIZES[size]
    config = GPTConfig(vocab, context, width, heads, layers, bias=False)
    return GPT(config, rng=np.random.default_rng(0))


def batch_of(size):
    """Return token ids and targets, the same each time."""
    vocab, context, *_, batch = SIZES[size]
    return np.random.default_rng(1).integers(0, vocab, (2, batch, context))


def npformer_step(size, workers="auto"):
    """Return a function that takes a step, and returns the loss before it."""
    from npformer.training import AdamW, Trainer

    model = model_of(size)
    optimizer = AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    trainer = Trainer(
        model, optimizer, clip_norm=1.0, workers=workers, rng=np.random.default_rng(2)
    )
    ids, targets = batch_of(size)
    return lambda: trainer.step(ids, targets)
