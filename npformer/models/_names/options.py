"""Their options, read one by one: what is asked for by nobody is refused, not ignored."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_REQUIRED: Any = object()

# Of every architecture, and of no influence on what is computed from the weights; how to write
# with them is what a caller of `generate` says.
_HARMLESS = frozenset(
    """
    _attn_implementation_autoset _commit_hash _name_or_path _num_labels architectures
    attn_implementation bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing id2label initializer_range label2id length_penalty max_length
    min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_scores pad_token_id
    prefix problem_type remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature
    tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers_version
    typical_p use_bfloat16 use_cache
    """.split()  # noqa: SIM905 (a list would take a line for each)
)
# Of every architecture, with the value that changes nothing.
_NEUTRAL: dict[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
}


class Options:
    """A configuration of theirs.

    Parameters
    ----------
    given : mapping
        As the file has it.
    chosen : collection of str, optional
        Fields of our configuration that the caller has chosen, so that what they are read from
        does not matter.
    """

    def __init__(self, given: Mapping[str, Any], chosen: Collection[str] = ()) -> None:
        self.given = dict(given)
        self.chosen = frozenset(chosen)
        self._left = {name: value for name, value in given.items() if name not in _HARMLESS}

    def take(self, name: str, kind: type[T], default: T = _REQUIRED) -> T:
        """Return an option of type `kind`; an int is a float, too, and null stands for nothing.

        Raises
        ------
        ValueError
            If it is of another type, or is missing and has no default.
        """
        value = self._left.pop(name, None)
        if value is None:
            if default is _REQUIRED:
                raise ValueError(f"it has no {name!r}; expected {_a(kind)}")
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"its {name!r} is {value!r}; expected {_a(kind)}")
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """Return an option, or None if it is missing or null."""
        if self._left.get(name) is None:
            self.ignore(name)
            return None
        return self.take(name, kind)

    def choice(self, name: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a word of theirs means here.

        Raises
        ------
        ValueError
            If it is not one of `choices`.
        """
        word = self.take(name, str, default)
        if word not in choices:
            raise ValueError(f"its {name!r} is {word!r}; expected one of {', '.join(choices)}")
        return choices[word]

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse an option that has another value than the ones that are computed here.

        Raises
        ------
        ValueError
            If it is there with a value that would change the numbers.
        """
        value = self._left.pop(name, allowed[0])
        if not any(_alike(value, known) for known in allowed):
            raise ValueError(
                f"its {name!r} is {value!r}, with which the model would compute something else "
                f"than is computed here; expected {' or '.join(map(repr, allowed))}"
            )

    def ignore(self, *names: str) -> None:
        """Pass over options that change nothing here."""
        for name in names:
            self._left.pop(name, None)

    def dropout(self, **rates: float) -> float:
        """Return the one rate that several options agree on; given by name with their defaults.

        Raises
        ------
        ValueError
            If they differ, and the caller has not chosen a rate.
        """
        found = {name: self.take(name, float, default) for name, default in rates.items()}
        if len(set(found.values())) > 1 and "dropout" not in self.chosen:
            raise ValueError(
                f"its rates of dropout are {found}, and the models here have one rate; choose it "
                f"with from_pretrained(..., dropout=...), which matters in training only"
            )
        return next(iter(found.values()))

    def is_one_of(self, *classes: str) -> bool:
        """Say whether the folder was written by one of these classes of theirs."""
        return not set(classes).isdisjoint(self.given.get("architectures") or ())

    def finish(self) -> None:
        """Refuse what nobody asked for.

        Raises
        ------
        ValueError
            If an option is left that is not known to change nothing.
        """
        for name, value in _NEUTRAL.items():
            self.only(name, value)
        if self._left:
            raise ValueError(
                f"it has options that are not known here, and may change what the model computes: "
                f"{self._left}; if they do not, take them out of the file"
            )


def _alike(value: Any, known: Any) -> bool:
    """Say whether two values are the same; 1 is 1.0, but not true."""
    return bool(value == known) and isinstance(value, bool) == isinstance(known, bool)


def _a(kind: type) -> str:
    words = {bool: "true or false", int: "an int", float: "a number", str: "a string"}
    return words.get(kind, "an object")
