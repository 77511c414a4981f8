"""Speech: spoken words to characters, by Whisper's architecture or by an encoder with CTC.

Without ``--data``, words are said by a formant synthesiser (`_formants`): a tenth of the speakers
is held out, and a tenth of the words. ``--data`` takes a folder of WAV files with a list of what
is said in them, and holds out every tenth of the recordings.

The measure is the character error rate: the edits from what the model writes to what was said,
per character that was said. Two guesses stand beside it: to write always the same, whatever is
heard; and for words that were never trained on, the known word that is nearest in spelling. Who
knows the answer can choose that one: no model that has learnt words by heart comes below it.

References
----------
Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision",
arXiv:2212.04356, for the decoder's way. Graves et al. (2006), "Connectionist Temporal
Classification", for the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import functional as F
from ..core.arrays import Array
from ..core.run import Run
from ..generation import ctc_greedy, generate
from ..models import CTC, CTCConfig, Model, Whisper, WhisperConfig
from ..models.ctc import BLANK
from ._clips import NEW_WORDS_ERROR, STEPS, Clips, Shape, heard, recorded, spectrum, synthesised
from ._edits import best_guess, edit_distances, error_rate
from ._formants import draw_speaker, say
from ._pictures import Attention
from ._recipe import BATCH, Recipe, pick_attention, stream
from ._settings import COUNT, PATH, POSITIVE, SHARE, InputError, Settings, one_of, option
from ._spoken_words import SOUNDS
from ._vocabulary import Vocabulary

NONE, START, END = "<none>", "<start>", "<end>"
_LOOK, _ROWS = 60, 60  # clips of each kind that are looked at in training; heard side by side
_SHOWN = 10  # held-out clips that are shown at the end
_IGNORED = -100


@dataclass(frozen=True)
class SpeechSettings(Settings):
    """What is heard and how it is written, sizes of the model and of its training."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data"}

    data: str | None = option(
        None, PATH, "a folder with WAV files and transcripts.csv (default: synthesised words)"
    )
    head: str = option(
        "decoder", one_of("decoder", "ctc"), "what writes: Whisper's decoder, or CTC"
    )
    steps: int = option(1500, COUNT, "optimizer steps of the whole run")
    batch: int = option(16, COUNT, "clips a step")
    seconds: float = option(1.0, POSITIVE, "length of a clip; longer recordings are left out")
    n_mels: int = option(32, COUNT, "channels of a spectrum", flag="--mels")
    d_model: int = option(96, COUNT, "width of the model")
    layers: int = option(2, COUNT, "layers of the encoder, and of the decoder")
    heads: int = option(4, COUNT, "attention heads")
    dropout: float = option(0.1, SHARE, "share of activations that is dropped")
    lr: float = option(3e-3, POSITIVE, "highest learning rate")


class Speech(Recipe):
    """A small recogniser of speech; see the module.

    Parameters
    ----------
    settings : SpeechSettings

    Raises
    ------
    InputError
        If the data cannot be read, or are too few to be split, or a text is too long for CTC.
    """

    name: ClassVar[str] = "speech"
    summary: ClassVar[str] = "Whisper, or an encoder with CTC: spoken words to characters"
    unit: ClassVar[str] = "nats per character"
    settings_type: ClassVar[type[Settings]] = SpeechSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (Whisper, CTC)
    attentions: ClassVar[tuple[str, ...]] = ("cross", "self", "encoder")

    def __init__(self, settings: SpeechSettings) -> None:
        super().__init__(settings)
        steps = max(1, round(settings.seconds * STEPS))
        self.shape = Shape(settings.n_mels, steps)
        if settings.data is None:
            split = synthesised(self.shape, settings.seed)
        else:
            split = recorded(settings.data, self.shape, settings.seed)
        self.about, self.train, self.held_out, self.example, self.mark = split
        parts = [self.train, *self.held_out.values()]
        texts = sorted({text for part in parts for text in part.texts})
        marks = [NONE] if settings.head == "ctc" else [START, END]
        self.vocabulary = Vocabulary([*marks, *sorted(set("".join(texts)))])
        self.longest = max(map(len, texts))
        if settings.head == "ctc":
            _check_room(texts, steps)
        self.guesses = self._guess()

    def _guess(self) -> dict[str, tuple[str, float]]:
        """Return what a guess is, and its error rate, for each kind of held-out clips."""
        known = sorted(set(self.train.texts))
        guesses = {}
        for name, clips in self.held_out.items():
            if name == NEW_WORDS_ERROR:
                nearest = sum(int(edit_distances(text, known).min()) for text in clips.texts)
                rate = nearest / sum(map(len, clips.texts))
                guesses[name] = "the nearest of the known words, chosen with the answer", rate
            else:
                text, rate = best_guess(known, clips.texts)
                guesses[name] = f"always {text!r}", rate
        return guesses

    def describe(self) -> str:
        """Return what the clips are, how they are split, and what a guess gets wrong."""
        return "\n".join([self.about, *self._say_guesses()])

    def _say_guesses(self) -> list[str]:
        return [
            f"{name}: {100 * rate:.2f} % for a guess ({words})"
            for name, (words, rate) in self.guesses.items()
        ]

    def build(self, rng: np.random.Generator) -> Model:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        sizes: dict[str, Any] = {
            "vocab_size": len(self.vocabulary),
            "d_model": s.d_model,
            "num_heads": s.heads,
            "num_layers": s.layers,
            "n_mels": s.n_mels,
            "max_source_len": self.shape.steps,
            "dropout": s.dropout,
        }
        if s.head == "ctc":
            return CTC(CTCConfig(**sizes), rng=rng)
        return Whisper(WhisperConfig(max_len=self.longest + 1, **sizes), rng=rng)

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return different clips of the training set, and what is said in them."""
        rng = stream(self.settings.seed, BATCH, step)
        count = min(self.settings.batch, len(self.train.texts))
        return self.examples(self.train, rng.choice(len(self.train.texts), count, replace=False))

    def examples(self, clips: Clips, which: Sequence[int] | Array) -> tuple[Array, ...]:
        """Return what ``model.loss`` takes, for some of the clips.

        Parameters
        ----------
        clips : Clips
        which : sequence of int
            Their numbers.

        Returns
        -------
        mel : (n, n_mels, frames) float32 ndarray
        target_in : (n, T) int64 ndarray
            Not for CTC: the start token and the text.
        targets : (n, T) int64 ndarray
            The text, for the decoder the end token, then -100.
        """
        rows = [self.vocabulary.encode(clips.texts[i]) for i in which]
        mel = clips.spectra([int(i) for i in which])
        if self.settings.head == "ctc":
            return mel, _padded(rows, _IGNORED)
        start, end = (np.array([self.vocabulary.ids[mark]]) for mark in (START, END))
        target_in = _padded([np.concatenate([start, row]) for row in rows], int(end[0]))
        return mel, target_in, _padded([np.concatenate([row, end]) for row in rows], _IGNORED)

    def look(self, model: Any) -> dict[str, float]:
        """Return loss and error rates on some held-out clips of each kind."""
        return self._measure(model, _LOOK)[0]

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return the measures on all held-out clips, and what was heard in some."""
        measures, written = self._measure(model)
        lines = self._say_guesses()
        for name, clips in self.held_out.items():
            lines.append(f"--- {name}: {100 * measures[name]:.2f} %; said, and heard ---")
            both = list(zip(clips.texts, written[name], strict=True))[:_SHOWN]
            lines += [f"{said:>20}  {'=' if said == text else '>'}  {text}" for said, text in both]
        return measures, "\n".join(lines)

    def _measure(
        self, model: Any, most: int | None = None
    ) -> tuple[dict[str, float], dict[str, list[str]]]:
        """Return loss (of the first kind of clips) and error rates, and what was written."""
        first = next(iter(self.held_out.values()))
        measures = {"loss": self._loss(model, first, most)}
        written: dict[str, list[str]] = {}
        for name, clips in self.held_out.items():
            texts = clips.texts[:most]
            written[name] = [
                text
                for rows in _parts(len(texts))
                for text in transcribe(model, self.vocabulary, clips.spectra(rows))
            ]
            measures[name] = error_rate(written[name], texts)
        return measures, written

    def _loss(self, model: Any, clips: Clips, most: int | None) -> float:
        total, count = 0.0, 0
        for rows in _parts(len(clips.texts[:most])):
            batch = self.examples(clips, rows)
            weight = model.loss_weight(*batch)
            total, count = total + float(model.loss(*batch)[0]) * weight, count + weight
        return total / count

    def attention_example(self) -> str:
        """Return what the run's picture is of: a held-out clip."""
        return self.example

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint holds; a digest stands for what is heard and said."""
        return {**super().record(), "clips": self.mark}

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with other clips than the run began with."""
        if metadata.get("clips") != self.mark:
            raise InputError(
                f"{self.settings.data or 'the words of this version'} are not the clips that the "
                f"run began with; give those as --data"
            )
        super().check_record(metadata)

    @staticmethod
    def respond(
        model: Any, vocabulary: Vocabulary, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return what the model hears in a WAV file, or in a word that is synthesised.

        Parameters
        ----------
        model, vocabulary
        prompt : str
            A file, or a word of the synthesiser's; by default, one is drawn.
        tokens : int, optional
            The most characters that are written.
        **sampling
            As in `transcribe`; ``rng`` also draws who says the word, and how.
        """
        rng = sampling.pop("rng", None) or np.random.default_rng()
        prompt = str(rng.choice(list(SOUNDS))) if prompt is None else prompt
        mel = _listen(prompt, _shape(model), rng)
        return transcribe(model, vocabulary, mel[None], tokens, rng=rng, **sampling)[0]

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
        """Return where the model listens while it writes what it hears in `text`.

        `text` is a WAV file or a word, as in `respond`. The decoder listens to the sound
        (``"cross"``), or looks at what it has written (``"self"``); the encoder listens to the
        sound as a whole (``"encoder"``). CTC has only that one; by default, its picture is of the
        probability of each character that it writes, step by step.
        """
        mel = _listen(text, _shape(model), np.random.default_rng(0))
        times = [
            f"{i / STEPS:.1f}" if i % (STEPS // 10) == 0 else "" for i in range(mel.shape[1] // 2)
        ]
        run = Run(record=["attention"])
        said = Path(text).stem
        if isinstance(model, CTC):
            if kind not in (None, "encoder"):
                raise InputError(f"--kind is {kind}; a model with CTC has encoder")
            logits, _ = model.forward(mel[None], run=run)
            written = _spelled(logits)[0]
            answer = vocabulary.decode(written)
        else:
            kind = Speech.attention_kind(kind)
            written = _written(model, vocabulary, mel[None], None, temperature=0.0)[0]
            start = np.array([vocabulary.ids[START]])
            before = np.concatenate([start, written[:-1]])
            model.forward(mel[None], before[None], run=run)
            answer = vocabulary.decode(written).partition(END)[0]
        title = f"“{said}” heard as “{answer}”"
        if kind is None:
            p = np.exp(F.log_softmax(logits[0])[0])
            rows = [BLANK, *written.tolist()]
            labels = ["none", *answer]
            return Attention(
                p[:, rows].T, labels, times, title, "written", "seconds", "probability", mel
            )
        weights, which = pick_attention(run, model, kind, layer, head)
        title = f"{title}\n{which}"
        labels = [vocabulary.tokens[i] for i in written]
        if kind == "self":
            looked = [vocabulary.tokens[i] for i in before]
            return Attention(weights, labels, looked, title, "character written", "looks at")
        rows, name = (times, "seconds") if kind == "encoder" else (labels, "character written")
        return Attention(weights, rows, times, title, name, "seconds", spectrum=mel)


def transcribe(
    model: Any,
    vocabulary: Vocabulary,
    mel: Array,
    tokens: int | None = None,
    *,
    temperature: float | None = None,
    **sampling: Any,
) -> list[str]:
    """Return what the model writes for spectra.

    Parameters
    ----------
    model : Whisper or CTC
    vocabulary : Vocabulary
    mel : (n, n_mels, frames) ndarray
    tokens : int, optional
        The most characters that are written for each; by default, what the model can.
    temperature : float, optional
        0 and None take the likeliest character each time. CTC does, whatever is said here.
    **sampling
        ``top_k``, ``top_p`` and ``rng``, as in `npformer.generation.generate`.

    Returns
    -------
    list of str
    """
    if isinstance(model, CTC):
        return [vocabulary.decode(row)[:tokens] for row in _spelled(model(mel))]
    rows = _written(model, vocabulary, mel, tokens, temperature=temperature or 0.0, **sampling)
    return [vocabulary.decode(row.tolist()).partition(END)[0] for row in rows]


def _spelled(logits: Array) -> list[Array]:
    """Return the classes that CTC's steps spell, of each recording."""
    return ctc_greedy(logits, np.full(len(logits), logits.shape[1]), BLANK)


def _written(
    model: Any, vocabulary: Vocabulary, mel: Array, tokens: int | None, **sampling: Any
) -> Array:
    """Return the ids that the decoder writes, without the start token."""
    most = model.config.max_len
    start, end = vocabulary.ids[START], vocabulary.ids[END]
    ids: Array = generate(model, mel, min(most, tokens or most), start=start, stop=end, **sampling)
    return ids


def _shape(model: Any) -> Shape:
    """Return the size of the spectra that a model was trained on."""
    return Shape(model.config.n_mels, model.config.max_source_len)


def _listen(prompt: str, shape: Shape, rng: np.random.Generator) -> Array:
    """Return the spectrum of a WAV file, or of a word that someone says."""
    if prompt.lower() in SOUNDS:
        sound = say(SOUNDS[prompt.lower()], draw_speaker(rng), rng, shape.seconds)
        return spectrum(sound, shape)
    if not prompt.lower().endswith(".wav"):
        raise InputError(
            f"{prompt!r} is neither a WAV file (.wav) nor a word that can be synthesised; those "
            f"are {len(SOUNDS)}, such as {', '.join(list(SOUNDS)[:12])}"
        )
    return heard(prompt, shape)


def _parts(count: int) -> list[range]:
    return [range(i, min(i + _ROWS, count)) for i in range(0, count, _ROWS)]


def _padded(rows: Sequence[Array], by: int) -> Array:
    """Return rows of different lengths as one array."""
    out = np.full((len(rows), max(map(len, rows))), by)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def _check_room(texts: Sequence[str], steps: int) -> None:
    """Refuse a text that CTC cannot spell: it needs a step for each character, two if it repeats.

    Raises
    ------
    InputError
    """
    for text in texts:
        needed = len(text) + sum(a == b for a, b in pairwise(text))
        if needed > steps:
            raise InputError(
                f"{text[:60]!r} needs {needed} steps with --head ctc, and clips of "
                f"{steps / STEPS:g} s have {steps}; raise --seconds, or take --head decoder"
            )
