"""A vocabulary of byte pairs, learned from texts by the library `tokenizers`.

It begins with the 256 bytes, so that no text is unknown to it, and joins the two neighbours that
stand beside each other most often, again and again, never across words.

References
----------
Sennrich, Haddow and Birch (2016), "Neural Machine Translation of Rare Words with Subword Units",
arXiv:1508.07909, section 3.2.
"""

from collections.abc import Iterable
from typing import Any

from ..core.errors import optional
from ..formats import Tokenizer

EXTRA, PURPOSE = "translate", "learn a vocabulary of byte pairs"


def learn(texts: Iterable[str], size: int, names: list[str]) -> Tokenizer:
    """Learn a vocabulary.

    Parameters
    ----------
    texts : iterable of str
    size : int
        How many tokens there are to be, bytes and names included; fewer where the texts have
        nothing more to join.
    names : list of str
        Tokens that no text is made of, such as ``"<pad>"``: the first ids, in this order.

    Returns
    -------
    Tokenizer

    Raises
    ------
    MissingExtraError
        Without the extra ``translate``.
    """
    library = optional("tokenizers", extra=EXTRA, purpose=PURPOSE)
    made = library.Tokenizer(library.models.BPE())
    # A word at the beginning is the same token as one after a space.
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=names,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return _of(made)


def from_record(record: Any) -> Tokenizer:
    """Return the vocabulary of which `record` is the ``Tokenizer.to_json()``.

    Raises
    ------
    ValueError
        If it is something else.
    MissingExtraError
        Without the extra ``translate``.
    """
    library = optional("tokenizers", extra=EXTRA, purpose=PURPOSE)
    if not isinstance(record, str):
        raise ValueError("its vocabulary is not one of byte pairs")
    try:
        return _of(library.Tokenizer.from_str(record))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"its vocabulary is not one of byte pairs: {error}") from error


def _of(library: Any) -> Tokenizer:
    # A text that spells the name of a token, such as "<end>", has its letters, not the token.
    library.encode_special_tokens = True
    return Tokenizer(library, "of byte pairs")
