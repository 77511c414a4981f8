"""Masked: a BERT that learns to fill in what was struck out of a text.

Of every window of the text, 15 characters in 100 are chosen. 80 of 100 of these are replaced by
a mark, 10 by any character, and 10 stay as they are, so that the model cannot know which ones
it may trust; it has to say what stood there, from both sides. The text is that of the recipe
`text`. Held-out characters are chosen once and for all, and the accuracy is the share of them
that the model names right. A guess that looks at nothing, always the most frequent character,
is what to compare it with.

References
----------
Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", arXiv:1810.04805, section 3.1, task 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import functional as F
from ..core.arrays import Array
from ..core.run import Run
from ..generation.sampling import next_token_probabilities
from ..models import BERT, BERTConfig, Model
from ._pictures import Attention
from ._recipe import BATCH, HELD_OUT, pick_attention, stream
from ._settings import (
    COUNT,
    FILE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    InputError,
    Settings,
    one_of,
    option,
)
from ._texts import TextRecipe
from ._vocabulary import Vocabulary

MASK = "<mask>"
_LOOK, _ROWS = 64, 32  # windows of held-out text that are looked at during training; side by side
_SHOWN = 3  # windows that are shown at the end
_IGNORED = -100


@dataclass(frozen=True)
class MaskedSettings(Settings):
    """Where the text is, how much of it is struck out, sizes of the model and of its training."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data"}

    data: str | None = option(None, FILE, "a UTF-8 text (default: Python's own documentation)")
    steps: int = option(2000, COUNT, "optimizer steps of the whole run")
    batch: int = option(16, COUNT, "windows of text a step")
    context: int = option(128, COUNT, "characters in a window")
    asked: float = option(0.15, PROBABILITY, "share of the characters that are asked for")
    d_model: int = option(128, COUNT, "width of the model")
    layers: int = option(3, COUNT, "layers")
    heads: int = option(4, COUNT, "attention heads")
    position: str = option(
        "rotary",
        one_of("learned", "sinusoidal", "rotary", "alibi", "t5"),
        "how it knows positions",
    )
    norm_position: str = option(
        "pre", one_of("pre", "post"), "where layers normalise; the paper's is post", flag="--norm"
    )
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    lr: float = option(3e-3, POSITIVE, "highest learning rate")


class Masked(TextRecipe):
    """A character-level BERT; see the module.

    Parameters
    ----------
    settings : MaskedSettings

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8, or is too short to be split.
    """

    name: ClassVar[str] = "masked"
    summary: ClassVar[str] = "BERT that fills in the characters of a text"
    unit: ClassVar[str] = "nats per asked character"
    settings_type: ClassVar[type[Settings]] = MaskedSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (BERT,)
    attentions: ClassVar[tuple[str, ...]] = ("encoder",)

    def __init__(self, settings: MaskedSettings) -> None:
        super().__init__(settings)
        self.asked = self._asked()

    def make_vocabulary(self) -> Vocabulary:
        """Return the vocabulary for the text: its characters, and the mask."""
        return Vocabulary([*sorted(set(self.text)), MASK])

    def _asked(self) -> tuple[Array, Array]:
        """Return the windows of the held-out text with characters struck out, and the answers."""
        context = self.settings.context
        count = len(self.held_out) // context
        windows = self.held_out[: count * context].reshape(count, context)
        return self.strike(windows, stream(self.settings.seed, HELD_OUT))

    def describe(self) -> str:
        """Return how long the text is, how it is split, and what a guess gets right."""
        return (
            f"{super().describe()}\n"
            f"always to guess {self.likeliest!r}, the most frequent character, is right for "
            f"{100 * self.guess():.2f} % of the {self.count():,} held-out ones that are asked for"
        )

    @property
    def likeliest(self) -> str:
        """The most frequent character of the training text."""
        return str(self.vocabulary.tokens[int(np.argmax(np.bincount(self.train)))])

    def guess(self) -> float:
        """Return the accuracy of always guessing the likeliest character."""
        targets = self.asked[1]
        answer = self.vocabulary.ids[self.likeliest]
        return float(np.sum(targets == answer)) / max(self.count(), 1)

    def count(self) -> int:
        """Return how many held-out characters are asked for."""
        return int(np.sum(self.asked[1] != _IGNORED))

    def build(self, rng: np.random.Generator) -> BERT:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        config = BERTConfig(
            vocab_size=len(self.vocabulary),
            max_len=s.context,
            d_model=s.d_model,
            num_heads=s.heads,
            num_layers=s.layers,
            num_token_types=1,
            dropout=s.dropout,
            position=s.position,
            norm_position=s.norm_position,
            norm_eps=1e-5,
        )
        return BERT(config, rng=rng)

    def strike(self, windows: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Choose characters, and replace most of them.

        Parameters
        ----------
        windows : (n, context) integer ndarray
        rng : numpy.random.Generator

        Returns
        -------
        ids : (n, context) ndarray
            Of the chosen ones 80 % are the mask, 10 % any character, and 10 % as they were.
        targets : (n, context) ndarray
            The chosen characters; -100 elsewhere.
        """
        mask = self.vocabulary.ids[MASK]
        chosen = rng.random(windows.shape) < self.settings.asked
        fate = rng.random(windows.shape)
        ids = np.where(chosen & (fate < 0.8), mask, windows)
        any_character = rng.integers(mask, size=windows.shape)  # the mask is the last id
        ids = np.where(chosen & (fate >= 0.8) & (fate < 0.9), any_character, ids)
        return ids, np.where(chosen, windows, _IGNORED)

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return windows of the text with characters struck out, and what they were."""
        s = self.settings
        rng = stream(s.seed, BATCH, step)
        starts = rng.integers(len(self.train) - s.context + 1, size=s.batch)
        return self.strike(self.train[starts[:, None] + np.arange(s.context)], rng)

    def look(self, model: Any) -> dict[str, float]:
        """Return loss and accuracy on 64 windows, evenly spaced over the held-out text."""
        return self.measure(model, _LOOK)

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return loss and accuracy on all of the held-out text, and some of it filled in."""
        ids, targets = (part[:_SHOWN] for part in self.asked)
        filled = np.where(targets == _IGNORED, ids, np.argmax(model.logits(model(ids)), axis=-1))
        shown = [f"guess: always {self.likeliest!r} is right for {100 * self.guess():.2f} %"]
        for given, answer, target in zip(ids, filled, targets, strict=True):
            right = int(np.sum(answer == target))
            shown.append(
                f"--- {right} of {int(np.sum(target != _IGNORED))} right ---\n"
                f"{self._readable(given)}\n{self._readable(answer)}"
            )
        return self.measure(model), "\n".join(shown)

    def measure(self, model: Any, most: int | None = None) -> dict[str, float]:
        """Return the mean loss over the asked characters, and the share that is named right."""
        total, right, count = 0.0, 0, 0
        for ids, targets in self.held_out_batches(most):
            asked = targets != _IGNORED
            if not asked.any():
                continue
            logits = model.logits(model(ids)[asked])
            number = int(np.sum(asked))
            total += number * float(F.cross_entropy(logits, targets[asked])[0])
            right += int(np.sum(np.argmax(logits, axis=-1) == targets[asked]))
            count += number
        return {"loss": total / max(count, 1), "accuracy": right / max(count, 1)}

    def held_out_batches(self, most: int | None = None) -> Iterator[tuple[Array, Array]]:
        """Yield the held-out windows, some at a time.

        Parameters
        ----------
        most : int, optional
            Take this many windows, evenly spaced; by default all.

        Yields
        ------
        ids, targets : (windows, context) ndarrays
            As ``model.loss`` takes them.
        """
        count = len(self.asked[0])
        taken = count if most is None else min(count, most)
        windows = np.unique(np.linspace(0, count - 1, taken).astype(np.int64))
        for i in range(0, len(windows), _ROWS):
            part = windows[i : i + _ROWS]
            yield self.asked[0][part], self.asked[1][part]

    def _readable(self, ids: Array) -> str:
        """Write a window in one line, a mask as one low line."""
        return "".join(_labels(self.vocabulary, ids)).replace("\n", "⏎")

    @staticmethod
    def respond(
        model: Any, vocabulary: Vocabulary, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return `prompt` with every ``<mask>`` in it filled in, each by its likeliest character.

        With a temperature above 0 they are drawn instead, each by itself.
        """
        if prompt is None or MASK not in prompt:
            raise InputError(
                f"there is nothing to fill in; write {MASK} where a character is wanted, such as "
                f"--prompt 'The stat{MASK}ment'"
            )
        ids = _encode(vocabulary, prompt)
        _check_length(ids, model)
        wanted = ids == vocabulary.ids[MASK]
        logits = model.logits(model(ids[None]))[0, wanted]
        logits[:, vocabulary.ids[MASK]] = -np.inf  # which is no answer
        p = next_token_probabilities(
            logits,
            temperature=sampling.get("temperature") or 0.0,
            top_k=sampling.get("top_k"),
            top_p=sampling.get("top_p"),
        )
        rng = sampling.get("rng") or np.random.default_rng()
        ids[wanted] = [rng.choice(len(row), p=row) for row in p]
        return vocabulary.decode(ids.tolist())

    @staticmethod
    def attend(
        model: Any,
        vocabulary: Vocabulary,
        text: str,
        *,
        kind: str | None = None,
        layer: int = -1,
        head: int | None = None,
    ) -> Attention:
        """Return where each character of `text` looks; ``<mask>`` stands for one that is asked."""
        kind = Masked.attention_kind(kind)
        ids = _encode(vocabulary, text)
        _check_length(ids, model)
        run = Run(record=["attention"])
        model.forward(ids[None], run=run)
        weights, which = pick_attention(run, model, kind, layer, head)
        labels = _labels(vocabulary, ids)
        return Attention(weights, labels, labels, which, "looks from", "looks at")


def _labels(vocabulary: Vocabulary, ids: Array) -> list[str]:
    """Return the characters, and a low line for each mask."""
    return ["▁" if vocabulary.tokens[i] == MASK else vocabulary.tokens[i] for i in ids]


def _encode(vocabulary: Vocabulary, text: str) -> Array:
    """Return the ids of a text in which the mask is written out."""
    parts = [vocabulary.encode(part) for part in text.split(MASK)]
    mask = np.array([vocabulary.ids[MASK]])
    joined = [one for part in parts for one in (part, mask)][:-1]
    return np.concatenate(joined).astype(np.int64)


def _check_length(ids: Array, model: Any) -> None:
    if not 1 <= len(ids) <= model.config.max_len:
        raise InputError(
            f"the text has {len(ids)} characters; expected 1 to {model.config.max_len}, which is "
            f"as many as the model was trained on"
        )
