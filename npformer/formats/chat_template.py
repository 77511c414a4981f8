"""Chat templates: a conversation as the text that a model was trained to go on from.

A template is a program, in the language of Jinja, that comes with the weights. Whoever wrote the
weights wrote it, so it runs in a sandbox: it sees the conversation and a few strings, can change
neither them nor anything else, and reaches no attribute that would lead it further.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..core.errors import CheckpointError, optional

Message = Mapping[str, str]


class ChatTemplate:
    """A template, compiled.

    Parameters
    ----------
    source : str
        The template.
    origin : str
        Where it stands, for messages.
    tokens : mapping of str to str
        What it may ask for by name, such as ``bos_token``.

    Attributes
    ----------
    source, tokens
        As given.

    Raises
    ------
    CheckpointError
        If it is no template.
    MissingExtraError
        Without the extra ``hub``.
    """

    def __init__(self, source: str, origin: str, tokens: Mapping[str, str]) -> None:
        jinja2 = optional("jinja2", extra="hub", purpose="run chat templates")
        sandbox = optional("jinja2.sandbox", extra="hub", purpose="run chat templates")
        self._origin, self.source, self.tokens = origin, source, dict(tokens)
        environment = sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = self._refuse
        environment.globals["strftime_now"] = _now
        try:
            self._template: Any = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise CheckpointError(f"the chat template of {origin} is broken: {error}") from error

    def render(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """Return the text of a conversation.

        Parameters
        ----------
        messages : sequence of mappings
            Each has a ``role`` ("system", "user" or "assistant") and a ``content``.
        reply : bool, optional
            Whether the text ends where the assistant is to speak.

        Raises
        ------
        CheckpointError
            If the template refuses the conversation, fails, or does what is not allowed.
        """
        copies = [dict(message) for message in messages]
        try:
            text: str = self._template.render(
                messages=copies, add_generation_prompt=reply, **self.tokens
            )
        except CheckpointError:
            raise
        except Exception as error:  # it is a program of someone else's, which may fail anyhow
            raise CheckpointError(
                f"the chat template of {self._origin} has failed: {type(error).__name__}: {error}"
            ) from error
        return text

    def _refuse(self, message: object) -> NoReturn:
        raise CheckpointError(
            f"the chat template of {self._origin} refuses the conversation: {message}"
        )


def _as_json(value: Any, indent: int | None = None) -> str:
    """Stand in for Jinja's own filter, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
