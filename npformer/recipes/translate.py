"""Translate: the paper's encoder-decoder on texts and their translations.

``--data`` takes a table of pairs, or two Bibles (`_translations`). Both languages share one
vocabulary of byte pairs (`_byte_pairs`), learned from the pairs that are trained on. A tenth of
the pairs, at most a thousand, is held out; what says the same as one of these, in either
language, is not trained on.

The held-out texts are translated by beam search and compared with the translations that people
made, by BLEU: how many runs of one to four words the two have in common, from 0 to 100 %. It is
counted by sacrebleu, whose signature is printed, so that the figure can be compared with others.

References
----------
Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762. Post (2018), "A Call for
Clarity in Reporting BLEU Scores", arXiv:1804.08771.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core.arrays import Array, BoolArray
from ..core.errors import optional
from ..core.run import Run
from ..generation import beam_search, generate
from ..models import Model, Transformer, TransformerConfig
from . import _byte_pairs
from ._pictures import Attention
from ._recipe import BATCH, SPLIT, Recipe, check_size, pick_attention, smoothed_entropy, stream
from ._settings import COUNT, PATH, POSITIVE, SHARE, InputError, Settings, count, one_of, option
from ._translations import HOW_TO_GET, read_translations

PAD, START, END = "<pad>", "<start>", "<end>"
_LEAST = 300  # tokens of a vocabulary: the bytes, the names, and something that is joined
_HELD_OUT = 1000  # pairs at most
_LOOK = 100  # of them during training
_ROWS = 50  # pairs side by side
_POOL = 50  # batches whose pairs are sorted by length
_SHOWN = 6  # translations that are shown at the end


@dataclass(frozen=True)
class TranslateSettings(Settings):
    """Where the pairs are, sizes of the vocabulary, of the model, and of its training."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data"}

    data: str | None = option(
        None, PATH, "lines 'text TAB translation' in UTF-8, or a folder with two SWORD Bibles"
    )
    reverse: str = option(
        "no", one_of("yes", "no"), "whether to translate the second column into the first"
    )
    vocabulary: int = option(4000, COUNT, "tokens of the vocabulary, bytes included")
    longest: int = option(40, COUNT, "longest text in tokens; pairs with a longer one are left out")
    steps: int = option(1200, COUNT, "optimizer steps of the whole run")
    eval_every: int = option(300, COUNT, "steps between two looks at held-out data")
    save_every: int = option(300, COUNT, "steps between two checkpoints")
    batch: int = option(16, COUNT, "pairs a step, of about one length")
    d_model: int = option(128, COUNT, "width of the model")
    layers: int = option(2, COUNT, "layers of the encoder, and of the decoder")
    heads: int = option(4, COUNT, "attention heads")
    norm: str = option("pre", one_of("pre", "post"), "where each block normalises")
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    label_smoothing: float = option(0.1, SHARE, "share of the target spread over all tokens")
    beams: int = option(4, COUNT, "translations that beam search keeps; 1 is greedy")
    lr: float = option(2e-3, POSITIVE, "highest learning rate")
    # A decoder has to find out where to look. On the two Bibles, with a rise over 100 steps, BLEU
    # was 1.6 % after 750; with one over 400, it was 8.3 % after 1,000.
    warmup: float = option(0.3, SHARE, "share of the steps in which the learning rate rises")


class Translate(Recipe):
    """Texts to their translations; see the module.

    Parameters
    ----------
    settings : TranslateSettings

    Attributes
    ----------
    sources, targets : list of str
        The pairs that are short enough.
    train, held_out : (n,) int ndarray
        Which of them are trained on, and which are not.

    Raises
    ------
    InputError
        If the data are missing, cannot be read, or are too few.
    MissingExtraError
        Without the extra ``translate``.
    """

    name: ClassVar[str] = "translate"
    summary: ClassVar[str] = "encoder-decoder: texts to their translations"
    unit: ClassVar[str] = "nats per token"
    settings_type: ClassVar[type[Settings]] = TranslateSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (Transformer,)
    attentions: ClassVar[tuple[str, ...]] = ("cross", "self", "encoder")
    translates: ClassVar[bool] = True

    def __init__(self, settings: TranslateSettings) -> None:
        super().__init__(settings)
        if settings.data is None:
            raise InputError(f"--data is missing; expected {HOW_TO_GET}")
        if settings.vocabulary < _LEAST:
            raise InputError(
                f"--vocabulary is {settings.vocabulary}; expected at least {_LEAST}, of which 256 "
                f"are the bytes"
            )
        self._bleu = optional("sacrebleu.metrics", extra="translate", purpose="count BLEU").BLEU()
        sources, targets, self.remark = read_translations(settings.data)
        if settings.reverse == "yes":
            sources, targets = targets, sources
        self.pairs = len(sources)
        self._digest = hashlib.sha256(repr((sources, targets)).encode()).hexdigest()
        held_out = min(len(sources) // 10, _HELD_OUT)
        if held_out < 2:
            raise InputError(
                f"--data {settings.data} has {count(len(sources), 'pair')}; a tenth is held out, "
                f"and has to hold at least 2"
            )
        order = stream(settings.seed, SPLIT).permutation(len(sources))
        asked, learned = order[:held_out].tolist(), order[held_out:].tolist()
        known = {sources[i] for i in asked}, {targets[i] for i in asked}
        learned = [i for i in learned if sources[i] not in known[0] and targets[i] not in known[1]]
        if not learned:
            raise InputError(
                f"--data {settings.data} has {len(sources)} pairs, and each says the same as one "
                f"of the tenth that is held out, in one of its languages; give different ones"
            )
        texts = [texts[i] for i in learned for texts in (sources, targets)]
        self.vocabulary = _byte_pairs.learn(texts, settings.vocabulary, [PAD, START, END])
        rows = [self.vocabulary.encode_batch(texts) for texts in (sources, targets)]
        self.lengths = np.stack([mask.sum(axis=1) for _, mask, _ in rows])
        short = self.lengths.max(axis=0) < settings.longest  # the end has a place, too
        self.train = np.array([i for i in learned if short[i]], np.int64)
        self.held_out = np.array([i for i in asked if short[i]], np.int64)
        if len(self.train) < 1 or len(self.held_out) < 2:
            raise InputError(
                f"--longest is {settings.longest}, and of {len(sources)} pairs "
                f"{int(short.sum())} are shorter: too few to train on and to hold out; give more"
            )
        self.ids = rows[0][0], rows[1][0]
        self.sources, self.targets = sources, targets
        self._epoch: tuple[int, list[Array]] = (-1, [])

    def describe(self) -> str:
        """Return how many pairs there are, how they are split, and what is left out."""
        used = len(self.train) + len(self.held_out)
        remark = f"; {self.remark}" if self.remark else ""
        return (
            f"{self.settings.data}: {len(self.train):,} pairs to train on, "
            f"{len(self.held_out):,} held out; {self.pairs - used:,} of {self.pairs:,} are left "
            f"out, of {self.settings.longest} tokens or more, or the same as one held out{remark}\n"
            f"vocabulary: {len(self.vocabulary):,} tokens; "
            f"{self.lengths[0, self.train].mean():.1f} a source and "
            f"{self.lengths[1, self.train].mean():.1f} a target on average"
        )

    def build(self, rng: np.random.Generator) -> Transformer:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        config = TransformerConfig(
            vocab_size=len(self.vocabulary),
            max_len=s.longest,
            d_model=s.d_model,
            num_heads=s.heads,
            num_layers=s.layers,
            dropout=s.dropout,
            label_smoothing=s.label_smoothing,
            norm_position=s.norm,
            start_token=self.vocabulary.id_of(START),
        )
        return Transformer(config, rng=rng)

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return the source ids, target input, targets and source mask of a step.

        Each epoch has every pair once, in another order.
        """
        count = -(-len(self.train) // self.settings.batch)
        epoch, at = divmod(step, count)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._batches(epoch)
        return self.examples(self._epoch[1][at])

    def _batches(self, epoch: int) -> list[Array]:
        """Return the batches of an epoch: pairs of about one length, so that little is padding."""
        rng, size = stream(self.settings.seed, BATCH, epoch), self.settings.batch
        order = rng.permutation(self.train)
        batches = []
        for first in range(0, len(order), size * _POOL):
            pool = order[first : first + size * _POOL]
            pool = pool[np.lexsort(self.lengths[:, pool])]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def examples(self, which: Array) -> tuple[Array, ...]:
        """Return what ``model.loss`` takes.

        Parameters
        ----------
        which : (B,) int ndarray
            Numbers of pairs.

        Returns
        -------
        source : (B, S) int64 ndarray
        target_in : (B, T) int64 ndarray
            The start token and the translation.
        targets : (B, T) int64 ndarray
            The translation and the end token, then -100.
        source_mask : (B, S) bool ndarray
        """
        lengths = self.lengths[:, which]
        source = self.ids[0][which, : lengths[0].max()]
        mask = np.arange(source.shape[1]) < lengths[0, :, None]
        translation = self.ids[1][which, : lengths[1].max()]
        start, end = self.vocabulary.id_of(START), self.vocabulary.id_of(END)
        target_in = np.pad(translation, ((0, 0), (1, 0)), constant_values=start)
        targets = np.pad(translation, ((0, 0), (0, 1)))
        at = np.arange(targets.shape[1])
        targets = np.where(at < lengths[1, :, None], targets, -100)
        targets[np.arange(len(which)), lengths[1]] = end
        return source, target_in, targets, mask

    def look(self, model: Any) -> dict[str, float]:
        """Return loss and BLEU of greedy translations of the first hundred held-out pairs."""
        return self._measure(model, self.held_out[:_LOOK], beams=1)[0]

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return loss and BLEU on all held-out pairs, and some of the translations."""
        measures, texts = self._measure(model, self.held_out, self.settings.beams)
        copied = self.bleu(self.held_out, [self.sources[i] for i in self.held_out])
        lines = ["held-out texts, the translation that people made, and the model's:"]
        for i, text in zip(self.held_out[:_SHOWN].tolist(), texts, strict=False):
            lines += [f"    {self.sources[i]}", f"    {self.targets[i]}", f" -> {text}", ""]
        lines += [
            f"the source itself in place of a translation: BLEU {100 * copied:.2f} %",
            f"beam search with {self.settings.beams}, sacrebleu {self._bleu.get_signature()}",
        ]
        return measures, "\n".join(lines)

    def _measure(self, model: Any, which: Array, beams: int) -> tuple[dict[str, float], list[str]]:
        """Return the measures on pairs, and their translations."""
        total, count = 0.0, 0
        texts: dict[int, str] = {}
        for rows in self._by_length(which):
            batch = self.examples(rows)
            weight = model.loss_weight(*batch)
            total += weight * float(model.loss(*batch)[0])
            count += weight
            written = translate(model, self.vocabulary, batch[0], batch[3], beams=beams)
            texts.update(zip(rows.tolist(), written, strict=True))
        found = [texts[i] for i in which.tolist()]
        return {"loss": total / count, "BLEU": self.bleu(which, found)}, found

    def _by_length(self, which: Array) -> Iterator[Array]:
        """Yield some pairs at a time, of about one length."""
        order = which[np.lexsort(self.lengths[:, which])]
        for i in range(0, len(order), _ROWS):
            yield order[i : i + _ROWS]

    def bleu(self, which: Array, texts: Sequence[str]) -> float:
        """Return the BLEU of translations of the pairs `which`, as a share of 1."""
        people = [self.targets[i] for i in which.tolist()]
        return float(self._bleu.corpus_score(list(texts), [people]).score) / 100

    def lowest_loss(self) -> float:
        """Return the entropy of the smoothed targets."""
        return smoothed_entropy(self.settings.label_smoothing, len(self.vocabulary))

    def attention_example(self) -> str:
        """Return the held-out text whose length is nearest to ten tokens."""
        lengths = self.lengths[0, self.held_out]
        nearest = int(np.argmin(np.abs(lengths - 10)))
        return str(self.sources[self.held_out[nearest]])

    def vocabulary_record(self) -> str:
        """Return the vocabulary as JSON."""
        return str(self.vocabulary.to_json())

    @classmethod
    def open_vocabulary(cls, record: Any, model: Any, folder: Path) -> Any:
        """Return the vocabulary of byte pairs that a checkpoint has."""
        return check_size(_byte_pairs.from_record(record), model)

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint holds; a digest stands for the pairs."""
        return {**super().record(), "pairs": self._digest}

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with other pairs than the run began with."""
        if metadata.get("pairs") != self._digest:
            raise InputError(
                f"{self.settings.data} has not the pairs that the run began with; give those as "
                f"--data"
            )
        super().check_record(metadata)

    @staticmethod
    def respond(
        model: Any, vocabulary: Any, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return the translation of `prompt`, by beam search unless a temperature is given."""
        if not prompt or not prompt.strip():
            raise InputError("--prompt is missing; give the text that is to be translated")
        source, mask = encode(model, vocabulary, prompt)
        return translate(model, vocabulary, source, mask, tokens=tokens, **sampling)[0]

    @staticmethod
    def attend(
        model: Any,
        vocabulary: Any,
        text: str,
        *,
        kind: str | None = None,
        layer: int = -1,
        head: int | None = None,
    ) -> Attention:
        """Return where the model looks while it reads `text` and writes its translation, greedily.

        The decoder looks at `text` (``"cross"``) and at what it has written so far (``"self"``),
        the encoder at `text` (``"encoder"``).
        """
        kind = Translate.attention_kind(kind)
        source, mask = encode(model, vocabulary, text)
        written = write(model, vocabulary, source, mask, beams=1)
        start = np.full((1, 1), vocabulary.id_of(START))
        run = Run(record=["attention"])
        model.forward(source, np.concatenate([start, written[:, :-1]], axis=1), mask, run=run)
        weights, which = pick_attention(run, model, kind, layer, head)
        read, answer = vocabulary.pieces(source[0]), vocabulary.pieces(written[0])
        if kind == "encoder":
            return Attention(weights, read, read, which, "looks from", "looks at")
        if kind == "self":
            return Attention(
                weights, answer, [START, *answer[:-1]], which, "token written", "looks at"
            )
        return Attention(weights, answer, read, which, "token written", "token read")


def encode(model: Any, vocabulary: Any, text: str) -> tuple[Array, BoolArray]:
    """Return a text as one row of ids, and a mask that is all True.

    Raises
    ------
    InputError
        If the text is empty, or longer than what the model was trained on.
    """
    ids = vocabulary.encode(" ".join(text.split()))
    if not 1 <= len(ids) < model.config.max_len:
        raise InputError(
            f"{text[:60]!r} is {len(ids)} tokens; expected 1 to {model.config.max_len - 1}, which "
            f"is as many as the model was trained on"
        )
    return ids[None], np.ones((1, len(ids)), bool)


def translate(model: Any, vocabulary: Any, source: Array, mask: BoolArray, **how: Any) -> list[str]:
    """Return the translations of rows of ids, up to their end tokens; `how` is for `write`."""
    end = vocabulary.id_of(END)
    rows = write(model, vocabulary, source, mask, **how)
    ended = [row[: int(np.argmax(row == end))] if end in row else row for row in rows]
    return [" ".join(vocabulary.decode(row).split()) for row in ended]


def write(
    model: Any,
    vocabulary: Any,
    source: Array,
    mask: BoolArray,
    *,
    beams: int | None = None,
    tokens: int | None = None,
    temperature: float | None = None,
    **sampling: Any,
) -> Array:
    """Return the ids that the model writes for each source, the last repeated to one length.

    Parameters
    ----------
    model : Transformer
    vocabulary : Tokenizer
    source, mask : (B, S) ndarrays
    beams : int, optional
        Of beam search, 4 by default.
    tokens : int, optional
        The most that is written, by default the longest that was trained on.
    temperature : float, optional
        If it is given, tokens are drawn, or the likeliest is taken each time (0).
    **sampling
        ``top_k``, ``top_p`` and ``rng``, as in `npformer.generation.generate`.
    """
    most = model.config.max_len if tokens is None else min(tokens, model.config.max_len)
    how = {"start": vocabulary.id_of(START), "stop": vocabulary.id_of(END), "mask": mask}
    drawn = any(sampling.get(name) is not None for name in ("top_k", "top_p"))
    if temperature is None and not drawn:
        return beam_search(model, source, most, num_beams=beams or 4, **how).best
    sampling["temperature"] = 1.0 if temperature is None else temperature
    ids: Array = generate(model, source, most, **how, **sampling)
    return ids
