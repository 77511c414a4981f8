"""Dates: an encoder-decoder that turns dates as people write them into ISO dates.

    the 3rd of March, 1987   ->  1987-03-03          Tue 14 Feb 06  ->  2006-02-14
    3/4/1987 (day first)     ->  1987-04-03          1 SEPT '49     ->  2049-09-01

What each string means, and the many ways of writing a date, are in `_written_dates`. Ten
percent of all dates are held out: no spelling of them is ever trained on, so that a right
answer for one is read from its characters and not remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.arrays import Array, BoolArray
from ..core.run import Run
from ..generation import beam_search, generate
from ..models import Model, Transformer, TransformerConfig
from ._pictures import Attention
from ._recipe import BATCH, HELD_OUT, SPLIT, Recipe, pick_attention, smoothed_entropy, stream
from ._settings import COUNT, POSITIVE, SHARE, InputError, Settings, one_of, option
from ._vocabulary import Vocabulary
from ._written_dates import CHARACTERS, NUM_DATES, date, write_all

PAD, START, END = "<pad>", "<start>", "<end>"
ANSWER = 10  # characters of an ISO date
LONGEST = 64  # characters that may be read at a time

_LOOK = 256  # held-out dates that are looked at during training
_ROWS = 512  # dates that are decoded side by side


@dataclass(frozen=True)
class DatesSettings(Settings):
    """Sizes of the model and of its training."""

    steps: int = option(2000, COUNT, "optimizer steps of the whole run")
    batch: int = option(64, COUNT, "dates a step")
    d_model: int = option(64, COUNT, "width of the model")
    layers: int = option(2, COUNT, "layers of the encoder, and of the decoder")
    heads: int = option(4, COUNT, "attention heads")
    norm: str = option("pre", one_of("pre", "post"), "where each block normalises")
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    label_smoothing: float = option(0.1, SHARE, "share of the target spread over all tokens")
    lr: float = option(5e-3, POSITIVE, "highest learning rate")


class Dates(Recipe):
    """Human-written dates to ISO dates; see the module.

    Parameters
    ----------
    settings : DatesSettings
    """

    name: ClassVar[str] = "dates"
    summary: ClassVar[str] = "encoder-decoder: dates as people write them to ISO dates"
    unit: ClassVar[str] = "nats per character"
    settings_type: ClassVar[type[Settings]] = DatesSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (Transformer,)
    attentions: ClassVar[tuple[str, ...]] = ("cross", "self", "encoder")
    translates: ClassVar[bool] = True

    def __init__(self, settings: DatesSettings) -> None:
        super().__init__(settings)
        self.vocabulary = vocabulary()
        shuffled = stream(settings.seed, SPLIT).permutation(NUM_DATES)
        self.held_out, self.train = np.split(shuffled, [NUM_DATES // 10])
        # Each held-out date in one way of writing it, the same at every look.
        self.questions = write_all(self.held_out, stream(settings.seed, HELD_OUT))

    def describe(self) -> str:
        """Return how many dates there are to learn from and to be judged by."""
        return (
            f"dates from 1950 to 2049: {len(self.train):,} to train on in ever new spellings, "
            f"{len(self.held_out):,} held out"
        )

    def build(self, rng: np.random.Generator) -> Transformer:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        config = TransformerConfig(
            vocab_size=len(self.vocabulary),
            max_len=LONGEST,
            d_model=s.d_model,
            num_heads=s.heads,
            num_layers=s.layers,
            dropout=s.dropout,
            label_smoothing=s.label_smoothing,
            norm_position=s.norm,
        )
        return Transformer(config, rng=rng)

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return the source ids, target input, targets and source mask of a step."""
        rng = stream(self.settings.seed, BATCH, step)
        days = rng.choice(self.train, self.settings.batch)
        return self.examples(days, write_all(days, rng))

    def examples(self, days: Array, texts: Sequence[str]) -> tuple[Array, ...]:
        """Return what ``model.loss`` takes, from dates and how they were written.

        Parameters
        ----------
        days : (B,) int ndarray
            Numbers of the dates.
        texts : sequence of str
            As written.

        Returns
        -------
        source : (B, S) int64 ndarray
        target_in : (B, 11) int64 ndarray
            The start token and the ISO date.
        targets : (B, 11) int64 ndarray
            The ISO date and the end token.
        source_mask : (B, S) bool ndarray
        """
        source, mask = encode(self.vocabulary, texts)
        answers = "".join(date(i).isoformat() for i in days.tolist())
        iso = self.vocabulary.encode(answers).reshape(-1, ANSWER)
        start, end = (np.full((len(iso), 1), self.vocabulary.ids[t]) for t in (START, END))
        target_in = np.concatenate([start, iso], axis=1)
        return source, target_in, np.concatenate([iso, end], axis=1), mask

    def look(self, model: Any) -> dict[str, float]:
        """Return loss and exact match on the first 256 held-out dates."""
        return self._measure(model, _LOOK)[0]

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return loss and exact match on all held-out dates, and some of the answers."""
        measures, answers = self._measure(model, len(self.held_out))
        rows = list(zip(self.questions, answers, self.held_out.tolist(), strict=True))
        wrong = [row for row in rows if row[1] != date(row[2]).isoformat()]
        lines = ["held-out dates, as written and as read:"]
        lines += [f"{text:>40}  ->  {answer}" for text, answer, _ in rows[:10]]
        if wrong:
            lines.append(f"{len(wrong):,} of {len(rows):,} are wrong, such as")
        lines += [f"{text:>40}  ->  {answer}, but it is {date(i)}" for text, answer, i in wrong[:5]]
        return measures, "\n".join(lines)

    def _measure(self, model: Any, count: int) -> tuple[dict[str, float], list[str]]:
        days, texts = self.held_out[:count], self.questions[:count]
        loss, answers = 0.0, []
        for i in range(0, len(days), _ROWS):
            batch = self.examples(days[i : i + _ROWS], texts[i : i + _ROWS])
            loss += float(model.loss(*batch)[0]) * len(batch[0])
            answers += translate(model, self.vocabulary, texts[i : i + _ROWS])
        right = sum(a == date(i).isoformat() for a, i in zip(answers, days.tolist(), strict=True))
        return {"loss": loss / len(days), "exact match": right / len(days)}, answers

    def lowest_loss(self) -> float:
        """Return the entropy of the smoothed targets."""
        return smoothed_entropy(self.settings.label_smoothing, len(self.vocabulary))

    def attention_example(self) -> str:
        """Return the date of the run's attention picture."""
        return "Sat, the 21st of March, '87"

    @staticmethod
    def respond(
        model: Any, vocabulary: Vocabulary, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return the ISO date that `prompt` means; greedy unless a temperature is given."""
        if not prompt:
            raise InputError("--prompt is missing; give a date, such as '3rd of March 1987'")
        tokens = ANSWER + 1 if tokens is None else tokens
        return translate(model, vocabulary, [prompt], tokens, **sampling)[0]

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
        """Return where the model looks while it reads `text` and writes the ISO date.

        The decoder looks at `text` (``"cross"``) and at what it has written so far (``"self"``),
        the encoder at `text` (``"encoder"``).
        """
        kind = Dates.attention_kind(kind)
        source, mask = encode(vocabulary, [text])
        written = decode(model, vocabulary, source, mask)
        start = np.full((1, 1), vocabulary.ids[START])
        run = Run(record=["attention"])
        model.forward(source, np.concatenate([start, written[:, :-1]], axis=1), mask, run=run)
        weights, which = pick_attention(run, model, kind, layer, head)
        answer = [vocabulary.tokens[i] for i in written[0]]
        title = f"“{text}” read as {''.join(answer).partition(END)[0]}\n{which}"
        if kind == "encoder":
            return Attention(weights, list(text), list(text), title, "looks from", "looks at")
        if kind == "self":
            before = [START, *answer[:-1]]
            return Attention(weights, answer, before, title, "character written", "looks at")
        return Attention(weights, answer, list(text), title, "character written", "character read")


def vocabulary() -> Vocabulary:
    """Return the tokens of the recipe: the same for every run."""
    return Vocabulary([PAD, START, END, *CHARACTERS])


def encode(vocabulary: Vocabulary, texts: Sequence[str]) -> tuple[Array, BoolArray]:
    """Return texts as rows of ids, padded to the longest, and which of them are real.

    Parameters
    ----------
    vocabulary : Vocabulary
    texts : sequence of str

    Returns
    -------
    ids : (B, S) int64 ndarray
    mask : (B, S) bool ndarray

    Raises
    ------
    InputError
        If a text is empty, too long, or has a character that no date is written with.
    """
    lengths = np.array([len(text) for text in texts])
    if lengths.min() == 0 or lengths.max() > LONGEST:
        at = int(np.argmax((lengths == 0) | (lengths > LONGEST)))
        raise InputError(f"{texts[at][:80]!r} is {lengths[at]} characters; expected 1 to {LONGEST}")
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, vocabulary.ids[PAD])
    ids[mask] = vocabulary.encode("".join(texts))
    return ids, mask


def translate(
    model: Any,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    tokens: int = ANSWER + 1,
    **sampling: Any,
) -> list[str]:
    """Return the dates that the model writes for `texts`, up to their end tokens.

    Parameters
    ----------
    model : Transformer
    vocabulary : Vocabulary
    texts : sequence of str
    tokens : int, optional
        The most that is written for each.
    **sampling
        ``temperature`` (None and 0 take the likeliest character each time), ``top_k``,
        ``top_p`` and ``rng``, as in `npformer.generation.generate`; or ``beams`` alone, as in
        `npformer.generation.beam_search`.

    Returns
    -------
    list of str
    """
    ids = decode(model, vocabulary, *encode(vocabulary, texts), tokens, **sampling)
    return [vocabulary.decode(row).partition(END)[0] for row in ids.tolist()]


def decode(
    model: Any,
    vocabulary: Vocabulary,
    source: Array,
    mask: BoolArray,
    tokens: int = ANSWER + 1,
    *,
    temperature: float | None = None,
    beams: int | None = None,
    **sampling: Any,
) -> Array:
    """Return the ids that the model writes, without the start token; `translate` says more."""
    start, end = vocabulary.ids[START], vocabulary.ids[END]
    if beams is not None:
        search: dict[str, Any] = {"start": start, "stop": end, "num_beams": beams}
        return beam_search(model, source, tokens, mask=mask, **search).best
    temperature = 0.0 if temperature is None else temperature
    how = {"start": start, "stop": end, "mask": mask, "temperature": temperature, **sampling}
    ids: Array = generate(model, source, tokens, **how)
    return ids
