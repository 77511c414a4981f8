"""Captions: a CLIP that learns which image goes with which line of text.

Without ``--data``, images are scenes that are drawn as they are needed, two coloured shapes each
(`_scenes`); the sentences of a tenth of all scenes are held out, and with them what they
describe. ``--data`` takes a folder with images and a file ``captions.csv``, or an emoji font, and
holds out every tenth of its pairs.

The model is judged by finding things again: held-out images are put beside each other, and for
each one its text is looked for among all of theirs, and for each text its image. The share that
comes first is the recall at 1; chance finds one in as many as there are.

References
----------
Radford et al. (2021), "Learning Transferable Visual Models From Natural Language Supervision",
arXiv:2103.00020.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import functional as F
from ..core.arrays import Array
from ..core.run import Run
from ..models import CLIP, CLIPConfig, Model
from . import _scenes
from ._pairs import Pairs, read_pairs
from ._pictures import Attention
from ._recipe import BATCH, HELD_OUT, SPLIT, Recipe, pick_attention, stream
from ._settings import COUNT, PATH, POSITIVE, SEVERAL, SHARE, InputError, Settings, count, option
from ._vocabulary import Vocabulary

PAD, END = "<pad>", "<end>"
_PATCH = 8  # pixels
_POOL = 500  # held-out pairs that are put beside each other
_LOOK = 100  # of them during training
_ROWS = 100  # encoded at once
_SHOWN = 4  # held-out images whose nearest texts are shown


@dataclass(frozen=True)
class CaptionsSettings(Settings):
    """Where the images are, sizes of the model and of its training."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data"}

    data: str | None = option(
        None, PATH, "a folder with images and captions.csv, or an emoji font (default: scenes)"
    )
    steps: int = option(1500, COUNT, "optimizer steps of the whole run")
    batch: int = option(64, SEVERAL, "pairs a step: each text has as many images to choose from")
    image_size: int = option(32, COUNT, "height and width of images, in pixels: a multiple of 8")
    d_model: int = option(96, COUNT, "width of both towers")
    d_embed: int = option(64, COUNT, "width of the space that both meet in")
    layers: int = option(3, COUNT, "layers of each tower")
    heads: int = option(4, COUNT, "attention heads")
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    lr: float = option(1e-3, POSITIVE, "highest learning rate")


class Captions(Recipe):
    """A small CLIP; see the module.

    Parameters
    ----------
    settings : CaptionsSettings

    Raises
    ------
    InputError
        If the data cannot be read, or are too few to be split.
    """

    name: ClassVar[str] = "captions"
    summary: ClassVar[str] = "CLIP on images and the words for them"
    unit: ClassVar[str] = "nats per pair"
    settings_type: ClassVar[type[Settings]] = CaptionsSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (CLIP,)
    attentions: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, settings: CaptionsSettings) -> None:
        super().__init__(settings)
        self.pairs: Pairs | None = None
        if settings.data is not None:
            self.pairs = read_pairs(settings.data, settings.image_size)
        elif settings.image_size != _scenes.SIZE:
            raise InputError(
                f"--image-size is {settings.image_size}; scenes are {_scenes.SIZE} pixels wide"
            )
        self.texts: Sequence[str] = _scenes.SENTENCES if self.pairs is None else self.pairs.texts
        order = stream(settings.seed, SPLIT).permutation(len(self.texts))
        held_out = len(order) // 10
        if held_out < 2:
            raise InputError(
                f"--data has {count(len(order), 'pair')}; a tenth is held out, and has "
                f"to hold at least 2"
            )
        self.train, self.held_out = order[held_out:], order[:held_out]
        self.vocabulary = Vocabulary([PAD, *sorted(set("".join(self.texts))), END])
        self.longest = max(map(len, self.texts)) + 1
        pool = self.held_out[:_POOL]
        self.pool = self._images(pool, stream(settings.seed, HELD_OUT)), self._ids(pool)

    def describe(self) -> str:
        """Return what the images are, how they are split, and what chance finds."""
        what = "scenes" if self.pairs is None else str(self.settings.data)
        return (
            f"{what}: {len(self.train):,} texts to train on, {len(self.held_out):,} held out, of "
            f"which {len(self.pool[1])} are put beside each other; chance finds "
            f"{100 / len(self.pool[1]):.2f} %"
        )

    def build(self, rng: np.random.Generator) -> CLIP:
        """Return the model, its weights drawn from `rng`."""
        s = self.settings
        config = CLIPConfig(
            vocab_size=len(self.vocabulary),
            max_len=self.longest,
            image_size=s.image_size,
            patch_size=_PATCH,
            d_embed=s.d_embed,
            image_d_model=s.d_model,
            image_num_heads=s.heads,
            image_num_layers=s.layers,
            text_d_model=s.d_model,
            text_num_heads=s.heads,
            text_num_layers=s.layers,
            end_token=self.vocabulary.ids[END],
            dropout=s.dropout,
            activation="gelu",
        )
        return CLIP(config, rng=rng)

    def _images(self, which: Array, rng: np.random.Generator) -> Array:
        if self.pairs is not None:
            return self.pairs.images[which]
        return np.stack([_scenes.draw(self.texts[i], rng) for i in which])

    def _ids(self, which: Array) -> Array:
        return encode(self.vocabulary, [self.texts[i] for i in which])

    def batch(self, step: int) -> tuple[Array, ...]:
        """Return different pairs of the training set: images, and texts as ids."""
        rng = stream(self.settings.seed, BATCH, step)
        count = min(self.settings.batch, len(self.train))
        which = rng.choice(self.train, count, replace=False)
        return self._images(which, rng), self._ids(which)

    def look(self, model: Any) -> dict[str, float]:
        """Return loss and recall among 100 held-out pairs."""
        return self.measure(model, _LOOK)

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return the measures on the whole pool, and the texts that are nearest to some images."""
        images, ids = self.pool
        u, v = _encoded(model.encode_image, images[:_SHOWN]), _encoded(model.encode_text, ids)
        shown = []
        for i, row in enumerate(u @ v.T):
            shown.append(f"--- {self.texts[self.held_out[i]]} ---")
            for j in np.argsort(-row)[:3]:
                mark = "<- right" if i == j else ""
                shown.append(f"{row[j]:6.3f}  {self.texts[self.held_out[j]]}  {mark}".rstrip())
        return self.measure(model), "\n".join(shown)

    def measure(self, model: Any, most: int | None = None) -> dict[str, float]:
        """Return the loss over pairs that are put beside each other, and how many are found.

        Parameters
        ----------
        model : CLIP
        most : int, optional
            Take this many pairs; by default the pool.
        """
        images, ids = (part[:most] for part in self.pool)
        u, v = _encoded(model.encode_image, images), _encoded(model.encode_text, ids)
        loss = float(F.contrastive_loss(u, v, model.log_scale.value)[0])
        cosines, right = u @ v.T, np.arange(len(u))
        return {
            "loss": loss,
            "text found": float(np.mean(np.argmax(cosines, axis=1) == right)),
            "image found": float(np.mean(np.argmax(cosines, axis=0) == right)),
        }

    def attention_example(self) -> str:
        """Return a held-out text."""
        return str(self.texts[self.held_out[0]])

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint holds; a digest stands for the images and texts."""
        return {**super().record(), "pairs": self._digest()}

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with other pairs than the run began with."""
        if metadata.get("pairs") != self._digest():
            raise InputError(
                f"{self.settings.data or 'the scenes of this version'} are not the images and "
                f"texts that the run began with; give those as --data"
            )
        super().check_record(metadata)

    def _digest(self) -> str:
        mark = hashlib.sha256("\n".join(self.texts).encode("utf-8", "surrogatepass"))
        if self.pairs is not None:
            mark.update(self.pairs.images.tobytes())
        return mark.hexdigest()

    @staticmethod
    def respond(
        model: Any, vocabulary: Vocabulary, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Draw the scene of a sentence, and return the sentences that are nearest to the image.

        Parameters
        ----------
        model, vocabulary
        prompt : str
            A sentence as scenes have; by default, one is drawn.
        tokens : int, optional
            How many sentences are returned, by default 5.
        **sampling
            Of these, ``rng`` draws the scene.
        """
        rng = sampling.get("rng") or np.random.default_rng()
        sentence = str(rng.choice(_scenes.SENTENCES)) if prompt is None else prompt
        if sentence not in _scenes.SENTENCES:
            raise InputError(
                f"{sentence!r} is no scene; expected a sentence such as "
                f"{_scenes.SENTENCES[61]!r}, of {', '.join(_scenes.SIZES)}, "
                f"{', '.join(_scenes.COLOURS)}, {', '.join(_scenes.SHAPES)} and "
                f"{', '.join(_scenes.RELATIONS)}"
            )
        if model.config.image_size != _scenes.SIZE:
            raise InputError(f"the model was trained on images of {model.config.image_size} pixels")
        image = _scenes.draw(sentence, rng)
        ids = encode(vocabulary, _scenes.SENTENCES)
        u, v = model.encode_image(image[None]), _encoded(model.encode_text, ids)
        cosines = v @ u[0]
        best = np.argsort(-cosines)[: 5 if tokens is None else tokens]
        return "\n".join(f"{cosines[i]:6.3f}  {_scenes.SENTENCES[i]}" for i in best)

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
        """Return where each character of `text` looks back to, and what sums it up at the end."""
        kind = Captions.attention_kind(kind)
        ids = encode(vocabulary, [text])
        if ids.shape[1] > model.config.max_len:
            raise InputError(
                f"the text has {len(text)} characters; expected at most {model.config.max_len - 1}"
            )
        run = Run(record=["attention"])
        model.text.forward(ids, run=run)
        weights, which = pick_attention(run, model, kind, layer, head)
        labels = [*text, "end"]
        return Attention(weights, labels, labels, which, "looks from", "looks at")


def encode(vocabulary: Vocabulary, texts: Sequence[str]) -> Array:
    """Return texts as ids, each with its end, padded to the longest: (n, length)."""
    rows = [vocabulary.encode(text) for text in texts]
    ids = np.full((len(rows), max(map(len, rows)) + 1), vocabulary.ids[PAD])
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
        line[len(row)] = vocabulary.ids[END]
    return ids


def _encoded(f: Any, rows: Array) -> Array:
    """Apply `f` to some rows at a time."""
    return np.concatenate([f(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)])
