"""Finetune: a GPT that others have trained, trained on on a text of yours.

``--model`` takes what `GPT.from_pretrained` reads, with its tokenizer: a folder of Hugging Face's,
a GGUF file, or the short name of a package with weights. All of its weights learn. A layer keeps
its input alone and runs again in backward (`layers.Checkpoint`), so that memory goes to four
arrays of the model's size, of values, gradients and the two means of AdamW, and little besides.

The last tenth of the text is held out. Its loss is taken before the first step and after the
last, on the same windows, evenly spaced over it. The run's folder is then a model's folder as
well: ``npformer generate`` takes it, and so does transformers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..formats import Tokenizer, open_tokenizer
from ..generation import generate
from ..models import GPT, Model
from ._settings import COUNT, FILE, PATH, POSITIVE, SHARE, InputError, Settings, option
from .text import Text

_BEGINNING = 24  # tokens of the held-out text that the sample at the end goes on from
_SAMPLE_LENGTH = 60  # tokens


@dataclass(frozen=True)
class FinetuneSettings(Settings):
    """Which model, where the text is, and how the training goes."""

    changeable: ClassVar[frozenset[str]] = Settings.changeable | {"data", "model"}

    model: str = option(
        "smollm2", PATH, "a GPT-2 or Llama folder, a .gguf file, or a name of npformer models"
    )
    data: str | None = option(None, FILE, "a UTF-8 text (default: Python's own documentation)")
    steps: int = option(30, COUNT, "optimizer steps of the whole run")
    eval_every: int = option(15, COUNT, "steps between two looks at held-out data")
    save_every: int = option(15, COUNT, "steps between two checkpoints: of three times the weights")
    batch: int = option(2, COUNT, "windows of text a step")
    context: int = option(256, COUNT, "tokens in a window")
    windows: int = option(8, COUNT, "windows of held-out text that are looked at, at most")
    dropout: float = option(0.0, SHARE, "share of activations that is dropped")
    lr: float = option(1e-4, POSITIVE, "highest learning rate")


class Finetune(Text):
    """A pretrained GPT on a text; see the module.

    Parameters
    ----------
    settings : FinetuneSettings

    Raises
    ------
    InputError
        If the model or the text is not there, or the text is too short to be split.
    CheckpointError
        If the tokenizer is broken.
    MissingExtraError
        Without the extra ``hub``.
    """

    name: ClassVar[str] = "finetune"
    summary: ClassVar[str] = "GPT of other people's weights, trained on on a text"
    unit: ClassVar[str] = "nats per token"
    counted: ClassVar[str] = "tokens"
    settings_type: ClassVar[type[Settings]] = FinetuneSettings
    model_types: ClassVar[tuple[type[Model], ...]] = (GPT,)
    rows: ClassVar[int] = 4
    # config.json is the model's own.
    configuration: ClassVar[str] = "run.json"
    products: ClassVar[tuple[str, ...]] = ("config.json", "model.safetensors")

    @classmethod
    def check_out(cls, folder: Path, settings: Any) -> None:
        """Refuse to write over the weights that are trained on, or any that no run has made."""
        model = Path(settings.model)
        if model.exists() and model.resolve() == folder.resolve():
            raise InputError(
                f"--out {folder} is the folder of --model, whose weights the run would replace; "
                f"choose another folder"
            )
        held = sorted(file.name for file in folder.glob("*.safetensors"))
        if held and not (folder / cls.configuration).is_file():
            raise InputError(
                f"--out {folder} holds {held[0]}, which no run has made, as there is no "
                f"{cls.configuration} beside it; the run would replace it, so choose another folder"
            )

    def make_vocabulary(self) -> Tokenizer:
        """Return the model's tokenizer."""
        self.weights = weights(self.settings.model)
        return open_tokenizer(self.weights)

    def describe(self) -> str:
        """Return which model it is, how long the text is and how it is split."""
        s = self.settings
        count = min((len(self.held_out) - 1) // s.context, s.windows)
        return (
            f"{s.model}, on {super().describe()}\n"
            f"held-out loss is of {count * s.context:,} tokens, in {count} windows evenly spaced"
        )

    def build(self, rng: np.random.Generator) -> GPT:
        """Return the model with its weights; `rng` draws nothing."""
        s = self.settings
        model = GPT.from_pretrained(self.weights, dropout=s.dropout, checkpoint=True)
        if model.head is None:
            raise InputError(
                f"--model {s.model} is a base model without a head, which predicts nothing; give "
                f"the folder of a language model"
            )
        self.vocabulary.check(model.config.vocab_size)
        if s.context > model.config.max_len:
            raise InputError(
                f"--context is {s.context}; the model knows sequences of up to "
                f"{model.config.max_len} tokens"
            )
        return model

    def look(self, model: Any) -> dict[str, float]:
        """Return the loss on some windows, evenly spaced over the held-out text."""
        return {"loss": self.loss(model, self.settings.windows)}

    def judge(self, model: Any) -> tuple[dict[str, float], str]:
        """Return the loss on the same windows, and how the model goes on from the held-out text."""
        prompt = self.vocabulary.decode(self.held_out[:_BEGINNING])
        text = self.respond(model, self.vocabulary, prompt, _SAMPLE_LENGTH, temperature=0.0)
        return self.look(model), f"--- the held-out text begins, and the model goes on ---\n{text}"

    def prepare(self, folder: Path) -> None:
        """Write the tokenizer into the run's folder, which a checkpoint needs beside it."""
        self.vocabulary.save(folder)

    def keep(self, model: Any, folder: Path) -> None:
        """Write the model into the run's folder, for `from_pretrained`."""
        model.save_pretrained(folder)

    def vocabulary_record(self) -> str:
        """Return a digest of the tokenizer, which lies beside the checkpoint."""
        return _digest(self.vocabulary)

    @classmethod
    def open_vocabulary(cls, record: Any, model: Any, folder: Path) -> Tokenizer:
        """Return the tokenizer that lies beside a checkpoint."""
        tokenizer = open_tokenizer(folder)
        if _digest(tokenizer) != record:
            raise ValueError(f"the tokenizer in {folder} is not the one it was trained with")
        return tokenizer

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with another tokenizer, or another text, than the run began with."""
        if metadata.get("vocabulary") != self.vocabulary_record():
            raise InputError(
                f"--model {self.settings.model} has another tokenizer than the model that the run "
                f"began with; give that one"
            )
        super().check_record(metadata)

    @staticmethod
    def respond(
        model: Any, vocabulary: Any, prompt: str | None, tokens: int | None, **sampling: Any
    ) -> str:
        """Return `prompt` and how the model goes on, by default at temperature 0.8."""
        prompt = prompt or "\n"
        ids = vocabulary.encode(prompt)
        if sampling.get("temperature") is None:
            sampling["temperature"] = 0.8
        tokens = 200 if tokens is None else tokens
        context, stop = model.config.max_len, sorted(vocabulary.ends) or None
        written = generate(model, ids[None], tokens, context=context, stop=stop, **sampling)[0]
        return prompt + str(vocabulary.decode(written[len(ids) :]))


def weights(model: str) -> Path:
    """Return the folder or file that a path or a short name stands for."""
    from ..hub.packages import find_weights  # which stands on the settings of the recipes

    return find_weights(model)


def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.to_json().encode()).hexdigest()
