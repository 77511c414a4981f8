"""Tokenizers: text to ids and back, as a model's own files say.

A folder has ``tokenizer.json``, which the library `tokenizers` reads; Marian's folders have other
files instead (`sentence_pieces`). A GGUF file holds the tokens,
their kinds and the merges of a byte-level BPE among its metadata, from which the same library
builds the tokenizer. Beside it, both say which tokens end an answer, and how a conversation is
written down.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import Array, BoolArray
from ..core.errors import CheckpointError, optional
from .chat_template import ChatTemplate, Message
from .gguf import open_gguf
from .safetensors import read_json
from .sentence_pieces import SOURCE, SentencePieces

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
GENERATION, TEMPLATE = "generation_config.json", "chat_template.jinja"
PURPOSE = "turn text into tokens"
_HALF = "\ufffd"  # what stands for bytes that are no character, or not yet one
_CONTROL, _USER_DEFINED = 3, 4  # kinds of tokens in GGUF
# How GGUF names the ways to cut a text before merges apply, and whether digits stand alone.
_LONE_DIGITS = {"gpt-2": False, "smollm": True}


class Tokenizer:
    """What turns a text into ids, and ids into text.

    Parameters
    ----------
    library : tokenizers.Tokenizer
        Or what has its methods.
    origin : str
        The file it comes from, for messages.
    ends : iterable of int
        Tokens that end an answer.
    template : ChatTemplate or None
        How conversations are written down.

    Attributes
    ----------
    size : int
        One more than the largest id.
    ends : frozenset of int
    """

    def __init__(
        self,
        library: Any,
        origin: str,
        ends: Iterable[int] = (),
        template: ChatTemplate | None = None,
    ) -> None:
        self._library, self._origin, self._template = library, origin, template
        self._library.no_truncation()
        self._library.no_padding()
        self.size = 1 + max(library.get_vocab(with_added_tokens=True).values(), default=-1)
        self.ends = frozenset(ends)

    def __len__(self) -> int:
        return self.size

    def id_of(self, token: str) -> int:
        """Return the id of a token by its name, such as ``"<pad>"``.

        Raises
        ------
        CheckpointError
            If there is none of that name.
        """
        found: int | None = self._library.token_to_id(token)
        if found is None:
            raise CheckpointError(f"the tokenizer {self._origin} has no token {token!r}")
        return found

    def to_json(self) -> str:
        """Return all that turns text into ids and back, as the library writes it down."""
        text: str = self._library.to_str()
        return text

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the files that `open_tokenizer` reads into a folder, which has to exist.

        These are ``tokenizer.json``, ``tokenizer_config.json`` with the chat template, and
        ``generation_config.json`` with the tokens that end an answer.
        """
        options: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if self._template is not None:
            options.update(self._template.tokens, chat_template=self._template.source)
        ends = {"eos_token_id": sorted(self.ends)} if self.ends else {}
        for name, text in (
            (TOKENIZER, self.to_json()),
            (TOKENIZER_CONFIG, json.dumps(options, indent=2, ensure_ascii=False) + "\n"),
            (GENERATION, json.dumps(ends) + "\n"),
        ):
            (Path(folder) / name).write_text(text, encoding="utf-8")

    def check(self, vocab_size: int) -> None:
        """Refuse to serve a model whose table of tokens is too small.

        A table may be larger: some are padded to a rounder number.

        Raises
        ------
        CheckpointError
            Naming both sizes.
        """
        most = max(self.size - 1, *self.ends, 0)
        if most >= vocab_size:
            raise CheckpointError(
                f"the tokenizer {self._origin} has ids up to {most}, and the model a vocabulary "
                f"of {vocab_size}; they do not belong together, so fetch both from one place"
            )

    def encode(self, text: str, *, special: bool = True) -> Array:
        """Return the ids (length,) of a text.

        Parameters
        ----------
        text : str
        special : bool, optional
            Whether to add the tokens that a text stands between by itself, such as [CLS] and
            [SEP]. Not for a conversation, whose template writes them.

        Raises
        ------
        ValueError
            If the text has what is no character, a lone surrogate.
        """
        _check_characters(text)
        return np.array(self._library.encode(text, add_special_tokens=special).ids, np.int64)

    def encode_batch(
        self, texts: Sequence[str], *, longest: int | None = None
    ) -> tuple[Array, BoolArray, list[int]]:
        """Return ids and mask of several texts, padded on the right to one length.

        Parameters
        ----------
        texts : sequence of str
        longest : int, optional
            How many tokens of each are kept, special ones included.

        Returns
        -------
        ids : (batch, length) int64 ndarray
        mask : (batch, length) bool ndarray
            True = real token.
        cut : list of int
            Which texts were longer.
        """
        for text in texts:
            _check_characters(text)
        if longest is not None:
            self._library.enable_truncation(longest)
        try:
            found = self._library.encode_batch(list(texts))
        finally:
            self._library.no_truncation()
        length = max((len(one.ids) for one in found), default=0)
        ids = np.zeros((len(found), length), np.int64)
        mask = np.zeros(ids.shape, bool)
        for row, one in enumerate(found):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = True
        return ids, mask, [row for row, one in enumerate(found) if one.overflowing]

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """Return the text of ids; `special` shows special tokens too."""
        text: str = self._library.decode([int(i) for i in ids], skip_special_tokens=not special)
        return text

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return what each of `ids` is by itself; a part of a character is shown as U+FFFD."""
        return [self.decode([i], special=True) for i in ids]

    def matching(self, pattern: str) -> dict[str, int]:
        """Return the tokens whose whole text is of a pattern, and their ids."""
        form = re.compile(pattern)
        vocabulary = self._library.get_vocab(with_added_tokens=True)
        return {text: i for text, i in vocabulary.items() if form.fullmatch(text)}

    def stream(self) -> "TextStream":
        """Return what turns ids into text as they come."""
        return TextStream(self)

    @property
    def chats(self) -> bool:
        """Whether there is a way to write down conversations."""
        return self._template is not None

    def encode_chat(self, messages: Sequence[Message]) -> Array:
        """Return the ids (length,) of a conversation, up to where the assistant is to speak.

        Raises
        ------
        CheckpointError
            If there is no chat template, it fails, or it renders nothing.
        """
        if self._template is None:
            raise CheckpointError(
                f"{self._origin} has no chat template, so the model was perhaps not trained to "
                f"answer; let it go on from a text, with npformer generate"
            )
        ids = self.encode(self._template.render(messages), special=False)
        if not len(ids):
            raise CheckpointError(
                f"the chat template of {self._origin} renders nothing for these messages; it is "
                f"perhaps another model's, so fetch it again, or let the model go on from a text, "
                f"with npformer generate"
            )
        return ids


def _check_characters(text: str) -> None:
    """Refuse what UTF-8 cannot hold, such as bytes of a command line that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text cannot be turned into tokens: {text[error.start]!r} at {error.start:,} is "
            f"no character; expected text that UTF-8 can hold"
        ) from error


class TextStream:
    """Text of ids that come one by one, of which no character is ever shown in part.

    A token is a run of bytes, which may end within a character. Decoded alone, such a run ends in
    U+FFFD; so what ends in one waits for the next token. What stands before it stays as it is,
    whatever follows.
    """

    _WINDOW = 32  # tokens that are decoded together at most, so that a step costs the same always

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0  # characters of their text

    def add(self, token: int) -> str:
        """Return the text that is known now and was not before."""
        self._ids.append(int(token))
        text = self._tokenizer.decode(self._ids)
        whole = len(text) - text.endswith(_HALF)
        new, self._shown = text[self._shown : whole], max(whole, self._shown)
        if len(self._ids) > self._WINDOW and whole == len(text):
            # A window of the last token alone: what precedes decides how a token begins.
            self._ids = self._ids[-1:]
            self._shown = len(self._tokenizer.decode(self._ids))
        return new

    def end(self) -> str:
        """Return what still waits, now that nothing follows."""
        text = self._tokenizer.decode(self._ids)[self._shown :]
        self._ids, self._shown = [], 0
        return text


def open_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Open the tokenizer of a folder or of a GGUF file.

    Raises
    ------
    FileNotFoundError
        If the folder has none.
    CheckpointError
        If it is broken, or of a kind that cannot be read.
    MissingExtraError
        Without the extra ``hub``.
    """
    path = Path(path)
    if path.is_dir() and not (path / TOKENIZER).is_file() and (path / SOURCE).is_file():
        return _of_marian(path)
    library = optional("tokenizers", extra="hub", purpose=PURPOSE)
    return _of_folder(path, library) if path.is_dir() else _of_gguf(path, library)


def _of_marian(folder: Path) -> Tokenizer:
    return Tokenizer(SentencePieces(folder), str(folder / SOURCE), _ends(folder))


def _of_folder(folder: Path, library: Any) -> Tokenizer:
    path = folder / TOKENIZER
    if not path.is_file():
        there = sorted(file.name for file in folder.iterdir())
        raise FileNotFoundError(
            f"{folder} has no {TOKENIZER}; it holds {', '.join(there[:8]) or 'nothing'}. Fetch it, "
            f"or make it of older files with transformers: "
            f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    try:
        found = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is no tokenizer: {error}; fetch it again") from error
    options = _read(folder / TOKENIZER_CONFIG)
    tokens = {
        name: text
        for name in ("bos_token", "eos_token", "unk_token", "pad_token")
        if (text := _content(options.get(name))) is not None
    }
    ends = _ends(folder)
    eos = found.token_to_id(tokens["eos_token"]) if "eos_token" in tokens else None
    if eos is not None:
        ends.add(eos)
    template = options.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    origin = folder / TOKENIZER_CONFIG
    if (folder / TEMPLATE).is_file():
        origin = folder / TEMPLATE
        template = origin.read_text(encoding="utf-8")
    chat = ChatTemplate(template, str(origin), tokens) if isinstance(template, str) else None
    return Tokenizer(found, str(path), ends, chat)


def _ends(folder: Path) -> set[int]:
    """Return the tokens that end a text, as the model's configurations say."""
    ends: set[int] = set()
    for name in (GENERATION, "config.json"):
        given = _read(folder / name).get("eos_token_id")
        ends.update(i for i in (given if isinstance(given, list) else [given]) if type(i) is int)
    return ends


def _read(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


def _content(token: Any) -> str | None:
    """Return a token's text, which stands alone or in an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _of_gguf(path: Path, library: Any) -> Tokenizer:
    found = open_gguf(path).metadata
    model, cut = found.get("tokenizer.ggml.model"), found.get("tokenizer.ggml.pre")
    if model != "gpt2" or cut not in _LONE_DIGITS:
        raise CheckpointError(
            f"{path} has a tokenizer of the kind {model!r}, {cut!r}; expected a byte-level BPE, "
            f"'gpt2', that cuts text as one of {', '.join(_LONE_DIGITS)}. Use the model's folder, "
            f"which has a {TOKENIZER}"
        )
    tokens = _texts(path, found, "tokenizer.ggml.tokens")
    merges = _texts(path, found, "tokenizer.ggml.merges")
    kinds = found.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    try:
        pairs = [tuple(merge.split(" ")) for merge in merges]
        bpe = library.models.BPE({text: i for i, text in enumerate(tokens)}, pairs)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} has tokens and merges that do not fit: {error}") from error
    made = library.Tokenizer(bpe)
    bytes_of = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [library.pre_tokenizers.Digits(individual_digits=True)] if _LONE_DIGITS[cut] else []
    made.pre_tokenizer = library.pre_tokenizers.Sequence([*digits, bytes_of])
    made.decoder = library.decoders.ByteLevel()
    for kind, add in ((_CONTROL, made.add_special_tokens), (_USER_DEFINED, made.add_tokens)):
        chosen = [text for text, k in zip(tokens, kinds, strict=False) if k == kind]
        add([library.AddedToken(text, normalized=False) for text in chosen])
    ids = {
        name: i
        for name in ("bos", "eos", "eot", "unknown", "padding")
        if type(i := found.get(f"tokenizer.ggml.{name}_token_id")) is int and 0 <= i < len(tokens)
    }
    if found.get("tokenizer.ggml.add_bos_token") and "bos" in ids:
        bos = tokens[ids["bos"]]
        made.post_processor = library.processors.TemplateProcessing(
            single=[bos, "$A"], special_tokens=[(bos, ids["bos"])]
        )
    template = found.get("tokenizer.chat_template")
    chat = None
    if isinstance(template, str):
        named = {f"{name}_token": tokens[ids[name]] for name in ("bos", "eos") if name in ids}
        chat = ChatTemplate(template, str(path), named)
    ends = [ids[name] for name in ("eos", "eot") if name in ids]
    return Tokenizer(made, str(path), ends, chat)


def _texts(path: Path, found: Mapping[str, Any], key: str) -> list[str]:
    texts = found.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"{path} has no list of texts {key}; fetch it again")
    return texts
