"""Text: a GPT that learns to write, one character at a time.

Without ``--data``, the text is the one that every CPython carries: the language reference as
``help()`` shows it (`pydoc_data.topics`), in alphabetical order of its topics, half a million
characters of technical English. The first nine tenths are trained on, the last tenth is held
out.

``--recipe nanogpt`` takes the settings that nanoGPT publishes for training on a CPU. There the
text is tiny Shakespeare, 65 different characters, so that the model has 804,096 numbers; the
loss that is given for it is 1.88 on held-out text after its 2,000 steps.

References
----------
Karpathy (2022), nanoGPT, https://github.com/karpathy/nanoGPT, "quick start" and
config/train_shakespeare_char.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.arrays import Array
from ..core.run import Run
from ..generation import generate
from ..models import GPT, GPTConfig, Model
from ._pictures import Attention
from ._recipe import BATCH, SAMPLE, pick_attention, stream
from ._settings import COUNT, FILE, POSITIVE, SHARE, InputError, Settings, one_of, option
from ._texts import TextRecipe
from ._vocabulary import Vocabulary

_LOOK = 64  # windows of held-out text that are looked at during training
_SAMPLES, _SAMPLE_LENGTH = 2, 300

NANOGPT = {
    "steps": 2000,
    "batch": 12,
    "context": 64,
    "d_model": 128,
    "layers": 4,
    "heads": 4,
    "position": "learned",
    "biases": "no",
    "dropout": 0.0,
    "lr": 1e-3,
    "lr_end": 0.1,
    "warmup": 0.05,
    "weight_decay": 0.1,
    "beta2": 0.99,
    "eval_every": 250,
    "save_every": 250,
}
"""nanoGPT's for shakespeare_char on a CPU; the rest of them is what every model here has: GELU by
the error function, one table for input and output, N(0, 0.02²), residual projections less."""


@dataclass(frozen=True)
class TextSettings(Settings):
    """Where the text is, sizes of the model and of its training."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data"}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"nanogpt": NANOGPT}

    preset: str | None = option(
        None,
        one_of(*presets),
        "published settings in place of the defaults: nanogpt is nanoGPT's on a CPU, with 4 "
        "layers of 128, context 64, batch 12; options that are given beside it count",
        flag="--recipe",
    )
    data: str | None = option(None, FILE, "a UTF-8 text (default: Python's own documentation)")
    steps: int = option(2000, COUNT, "optimizer steps of the whole run")
    batch: int = option(16, COUNT, "windows of text a step")
    context: int = option(128, COUNT, "characters in a window: how far back the model sees")
    d_model: int = option(96, COUNT, "width of the model")
    layers: int = option(3, COUNT, "layers")
    heads: int = option(4, COUNT, "attention heads")
    position: str = option(
        "rotary", one_of("learned", "sinusoidal", "rotary", "alibi"), "how it knows positions"
    )
    biases: str = option("yes", one_of("yes", "no"), "whether layers add biases")
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    lr: float = option(5e-3, POSITIVE, "highest learning rate")


class Text(TextRecipe):
    """A character-level GPT; see the module.

    Parameters
    ----------
    settings : TextSettings

    Attributes
    ----------
    rows : int
        How many windows of held-out text stand side by side.

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8, or is too short to be split.
    """

    name: ClassVar[str] = "text"
    summary: ClassVar[str] = "GPT on the characters of a text"
    unit: ClassVar[str] = "nats per character"
    settings_type: ClassVar[type[Settings]] = TextSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (GPT,)
    attentions: ClassVar[tuple[str, ...]] = ("self",)
    rows: ClassVar[int] = 32

    def build(self, rng: np.random.Generator) -> GPT:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        config = GPTConfig(
            vocab_size=len(self.vocabulary),
            max_len=s.context,
            d_model=s.d_model,
            num_heads=s.heads,
            num_layers=s.layers,
            dropout=s.dropout,
            bias=s.biases == "yes",
            position=s.position,
        )
        return GPT(config, rng=rng)

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return windows of the text, and the same windows one character on."""
        s = self.settings
        starts = stream(s.seed, BATCH, step).integers(len(self.train) - s.context, size=s.batch)
        return _windows(self.train, starts, s.context)

    def look(self, model: Any) -> dict[str, float]:
        """Return the loss on 64 windows, evenly spaced over the held-out text."""
        return {"loss": self.loss(model, _LOOK)}

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return the loss on all of the held-out text, and samples of the model's own."""
        measures = {"loss": self.loss(model)}
        shown = []
        for number in range(_SAMPLES):
            rng = stream(self.settings.seed, SAMPLE, number)
            sample = self.respond(model, self.vocabulary, None, _SAMPLE_LENGTH, rng=rng)
            shown.append(f"--- sample {number + 1} ---\n{sample.strip()}")
        return measures, "\n".join(shown)

    def loss(self, model: Any, most: int | None = None) -> float:
        """Return the mean loss over `held_out_batches`."""
        total, count = 0.0, 0
        for ids, targets in self.held_out_batches(most):
            total += float(model.loss(ids, targets)[0]) * len(ids)
            count += len(ids)
        return total / count

    def held_out_batches(self, most: int | None = None) -> Iterator[tuple[Array, Array]]:
        """Yield the held-out text, cut into windows that do not overlap, some at a time.

        Each token is so predicted once, from what stands before it in its window. What is
        left over at the end, less than a window, is not.

        Parameters
        ----------
        most : int, optional
            Take this many windows, evenly spaced; by default all.

        Yields
        ------
        ids, targets : (windows, context) ndarrays
            As ``model.loss`` takes them.
        """
        context = self.settings.context
        count = (len(self.held_out) - 1) // context
        taken = count if most is None else min(count, most)
        windows = np.unique(np.linspace(0, count - 1, taken).astype(np.int64))
        for i in range(0, len(windows), self.rows):
            yield _windows(self.held_out, windows[i : i + self.rows] * context, context)

    @staticmethod
    def respond(
        model: Any, vocabulary: Vocabulary, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return `prompt` and how the model goes on, by default at temperature 0.8."""
        ids = vocabulary.encode(prompt or _beginning(vocabulary))
        if sampling.get("temperature") is None:
            sampling["temperature"] = 0.8
        tokens = 500 if tokens is None else tokens
        context = model.config.max_len
        return vocabulary.decode(
            generate(model, ids[None], tokens, context=context, **sampling)[0].tolist()
        )

    @classmethod
    def attend(
        cls,
        model: Any,
        vocabulary: Any,
        text: str,
        *,
        kind: str | None = None,
        layer: int = -1,
        head: int | None = None,
    ) -> Attention:
        """Return where each token of `text` looks back to."""
        kind = cls.attention_kind(kind)
        ids = vocabulary.encode(text)
        if not 1 <= len(ids) <= model.config.max_len:
            raise InputError(
                f"the text has {len(ids)} {cls.counted}; expected 1 to {model.config.max_len}, "
                f"which is how far the model sees"
            )
        run = Run(record=["attention"])
        model.forward(ids[None], run=run)
        weights, which = pick_attention(run, model, kind, layer, head)
        pieces = vocabulary.pieces(ids)
        return Attention(weights, pieces, pieces, which, "looks from", "looks at")


def _windows(ids: Array, starts: Array, length: int) -> tuple[Array, Array]:
    """Return the windows that begin at `starts`, and the characters that follow each place."""
    at = starts[:, None] + np.arange(length)
    return ids[at], ids[at + 1]


def _beginning(vocabulary: Vocabulary) -> str:
    """Return a line end, after which anything may begin, or the first character there is."""
    return "\n" if "\n" in vocabulary.ids else vocabulary.tokens[0]
