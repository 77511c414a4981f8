"""What a recipe is: the parts that the training loop and the commands ask for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core.arrays import Array
from ..core.run import Run
from ..models._model import Model
from ..training import AdamW, Trainer
from ..training.schedules import warmup_cosine
from ._pictures import Attention
from ._settings import InputError, Settings
from ._vocabulary import Vocabulary

# What a random stream is for. Each is a function of (seed, purpose, step) and of nothing that
# happened before, so that a run that was interrupted draws what it would have drawn.
SPLIT, WEIGHTS, DROPOUT, BATCH, HELD_OUT, SAMPLE, CLIPS = range(7)

# The attentions that can be drawn: how the names of their layers begin and end.
ATTENTIONS = {
    "cross": ("decoder.", ".cross_attention"),
    "self": ("decoder.", ".self_attention"),
    "encoder": ("encoder.", ".self_attention"),
    "text": ("text.encoder.", ".self_attention"),
}


def stream(seed: int, purpose: int, step: int = 0) -> np.random.Generator:
    """Return the random generator of a run's seed, a purpose and a step.

    Parameters
    ----------
    seed : int
        The run's own.
    purpose : int
        One of ``SPLIT``, ``WEIGHTS``, ``DROPOUT``, ``BATCH``, ``HELD_OUT``, ``SAMPLE``, ``CLIPS``.
    step : int, optional

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng([seed, purpose, step])


class Recipe(ABC):
    """A complete run: its data, its model, how it is judged, and what is shown of it.

    Parameters
    ----------
    settings : Settings
        Of the recipe's `settings_type`.

    Attributes
    ----------
    name : str
        As in ``npformer train NAME``, and in the checkpoint.
    summary : str
        One line for ``--help``.
    unit : str
        What the loss is counted in.
    vocabulary : Vocabulary
        Or what has `encode`, `decode`, `pieces` and a length like it.
    model_types : tuple of types of Model
        Those that it may train.
    attentions : tuple of str
        The keys of `ATTENTIONS` that the model has, first the one that is drawn by default.
    configuration : str
        The file in the run's folder that says what the run is of.
    products : tuple of str
        Files that `keep` writes there.
    translates : bool
        Whether `respond` makes of a text another that says the same; it then takes ``beams``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    unit: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    model_types: ClassVar[tuple[type[Model], ...]]
    attentions: ClassVar[tuple[str, ...]]
    configuration: ClassVar[str] = "config.json"
    products: ClassVar[tuple[str, ...]] = ()
    translates: ClassVar[bool] = False
    settings: Any
    vocabulary: Any

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod  # noqa: B027, since most have nothing to refuse
    def check_out(cls, folder: Path, settings: Any) -> None:
        """Refuse a run's folder that holds what the run would destroy; asked before any work.

        Raises
        ------
        InputError
        """

    @abstractmethod
    def describe(self) -> str:
        """Return a line or more that says what the data are and how they are split."""

    @abstractmethod
    def build(self, rng: np.random.Generator) -> Model:
        """Return the model, its weights drawn from `rng`."""

    def initial_model(self) -> Model:
        """Return the model at step 0 of a run, a function of the settings alone.

        Raises
        ------
        InputError
            If the settings' sizes do not go together; the model says which.
        """
        try:
            return self.build(stream(self.settings.seed, WEIGHTS))
        except ValueError as error:
            raise InputError(str(error)) from error

    def schedule(self, step: int) -> float:
        """Return the learning rate of a step, from 0: a linear rise, then half a cosine."""
        s = self.settings
        warmup = int(s.warmup * s.steps)
        return warmup_cosine(s.lr, warmup, s.steps, final=s.lr_end * s.lr)(step)

    def trainer(self, model: Model) -> Trainer:
        """Return what trains `model`: AdamW, the schedule, clipping to a norm of 1."""
        s = self.settings
        return Trainer(
            model,
            AdamW(model.parameters(), weight_decay=s.weight_decay, betas=(0.9, s.beta2)),
            schedule=self.schedule,
            clip_norm=1.0,
            rng=stream(s.seed, DROPOUT),
        )

    @abstractmethod
    def batch(self, step: int) -> tuple[Array, ...]:
        """Return what ``model.loss`` takes at `step`: a function of the seed and the step."""

    @abstractmethod
    def look(self, model: Model) -> dict[str, float]:
        """Return ``"loss"``, and perhaps other measures, on a fixed sample of held-out data."""

    @abstractmethod
    def judge(self, model: Model) -> tuple[dict[str, float], str]:
        """Return the measures on all held-out data, and a text that shows what the model does."""

    def prepare(self, folder: Path) -> None:  # noqa: B027, since most have nothing to do
        """Write into the run's folder what its checkpoints need beside them."""

    def keep(self, model: Model, folder: Path) -> None:  # noqa: B027
        """Write `products` into the run's folder, once the model is trained."""

    def lowest_loss(self) -> float:
        """Return the loss of a model that is always right and as sure as it should be."""
        return 0.0

    @abstractmethod
    def attention_example(self) -> str | None:
        """Return an input for the attention picture of the run; None for no such picture."""

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold besides the model, as JSON can hold it."""
        return {
            "recipe": self.name,
            "settings": self.settings.as_dict(),
            "vocabulary": self.vocabulary_record(),
        }

    def vocabulary_record(self) -> Any:
        """Return what of the vocabulary a checkpoint has to hold, as JSON can hold it."""
        return self.vocabulary.tokens

    @classmethod
    def open_vocabulary(cls, record: Any, model: Any, folder: Path) -> Any:
        """Return the vocabulary that a checkpoint was trained with.

        Parameters
        ----------
        record : object
            As `vocabulary_record` returned it, if the checkpoint is one of this recipe's.
        model : Model
            That the checkpoint holds.
        folder : Path
            Where the checkpoint lies.

        Raises
        ------
        ValueError
            If `record` is something else, or not of this model.
        """
        return check_size(Vocabulary.from_record(record), model)

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on from a checkpoint of other data.

        Raises
        ------
        InputError
        """
        if metadata.get("vocabulary") != self.vocabulary_record():
            raise InputError("the checkpoint was trained with another vocabulary")

    @staticmethod
    @abstractmethod
    def respond(
        model: Any, vocabulary: Any, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return what the model makes of a prompt.

        Parameters
        ----------
        model : Model
        vocabulary
            From `open_vocabulary`.
        prompt : str or None
            None stands for the recipe's own beginning.
        tokens : int or None
            The most that is generated; None leaves it to the recipe.
        **sampling
            ``temperature``, ``top_k``, ``top_p`` (None leaves it to the recipe), and ``rng``; or,
            of a recipe that translates, ``beams`` alone, for beam search.
        """

    @staticmethod
    @abstractmethod
    def attend(
        model: Any,
        vocabulary: Any,
        text: str,
        *,
        kind: str | None = None,
        layer: int = -1,
        head: int | None = None,
    ) -> Attention:
        """Return the attention of one layer over `text`, of one head or the mean of all.

        `kind` is one of `attentions`; None is the first of them.
        """

    @classmethod
    def attention_kind(cls, kind: str | None) -> str:
        """Return which attention is drawn.

        Raises
        ------
        InputError
            If the recipe's model has none of that kind.
        """
        if kind is not None and kind not in cls.attentions:
            raise InputError(
                f"--kind is {kind}; a model of {cls.name} has {', '.join(cls.attentions)}"
            )
        return cls.attentions[0] if kind is None else kind


def check_size(vocabulary: Any, model: Any) -> Any:
    """Return a vocabulary that has as many tokens as a model, or refuse it with a ValueError."""
    if len(vocabulary) != model.config.vocab_size:
        raise ValueError(
            f"its vocabulary has {len(vocabulary)} tokens, and its model {model.config.vocab_size}"
        )
    return vocabulary


def smoothed_entropy(share: float, tokens: int) -> float:
    """Return the entropy of smoothed targets, the lowest loss that there can be with them.

    Parameters
    ----------
    share : float
        e, which is spread over all tokens: each has e / V, and the target the rest too.
    tokens : int
        V.

    Returns
    -------
    float
        In nats.
    """
    if share == 0:
        return 0.0
    small, large = share / tokens, 1 - share + share / tokens
    return -(tokens - 1) * small * math.log(small) - large * math.log(large)


def pick_attention(
    run: Run, model: Model, kind: str, layer: int, head: int | None
) -> tuple[Array, str]:
    """Return the recorded weights of one layer, and words for which they are.

    Parameters
    ----------
    run : Run
        That recorded ``"attention"``, over a batch of one.
    model : Model
        That was run.
    kind : str
        One of `ATTENTIONS`.
    layer : int
        From 0; negative numbers count from the last.
    head : int or None
        From 0; negative numbers count from the last. None is the mean of all.

    Returns
    -------
    weights : (n_q, n_k) ndarray
    words : str
        The layer's name in the model, and the head.

    Raises
    ------
    InputError
        If there is no such layer or head.
    """
    recorded = run.named(model, "attention")
    first, last = ATTENTIONS[kind]
    layers = [one for one in recorded if one[0].startswith(first) and one[0].endswith(last)]
    if not -len(layers) <= layer < len(layers):
        raise InputError(
            f"--layer is {layer}; the model's layers are 0 to {len(layers) - 1} (-1 is the last)"
        )
    name, weights = layers[layer]
    weights = weights[0]  # (heads, n_q, n_k): the batch's only row
    heads = len(weights)
    if head is None:
        return weights.mean(axis=0), f"{name}, mean of {heads} heads"
    if not -heads <= head < heads:
        raise InputError(
            f"--head is {head}; the model's heads are 0 to {heads - 1} (-1 is the last; leave it "
            f"out for the mean)"
        )
    return weights[head], f"{name}, head {head % heads} of 0 to {heads - 1}"
