"""Writing and conversations, with a model whose tokens are bytes: no library is needed."""

import io
import sys

import numpy as np
import pytest
from support.recipes import said
from support.talking import END, Bytes, Plain, language_model, tokenizer

from npformer.cli import main
from npformer.core.errors import CheckpointError
from npformer.formats import Tokenizer
from npformer.generation import generate
from npformer.hub import Chat, LanguageModel
from npformer.recipes._settings import InputError

TEXT = "naïve 日本語 😀👩‍👩‍👧 end"


def test_a_stream_shows_whole_characters_only_and_in_the_end_all():
    for text in (TEXT, TEXT * 5, "\ufffd" + TEXT):
        stream = tokenizer().stream()
        pieces = [stream.add(byte) for byte in text.encode()]
        assert all(piece in text for piece in pieces)
        assert "".join(pieces) + stream.end() == text


def test_bytes_that_are_no_text_are_shown_as_such():
    stream = tokenizer().stream()
    shown = "".join(stream.add(byte) for byte in b"a\xff\xff\xffb\xe6\x97")
    assert shown == "a\ufffd\ufffd\ufffdb"
    assert stream.end() == "\ufffd"
    assert stream.end() == ""


def test_what_is_shown_is_what_is_generated():
    model, pieces = language_model(), []
    ids = model.tokenizer.encode("To be")
    written = model.write(ids, 20, show=pieces.append)
    want = generate(model.model, ids[None], 20, temperature=0, stop=END)[0]
    np.testing.assert_array_equal(written.ids, want)
    assert "".join(pieces) == written.text == model.tokenizer.decode(want[5:])
    assert (written.tokens_read, written.tokens_written, written.ended) == (5, 20, False)
    assert "5 tokens read (" in written.speeds
    assert "20 tokens written (" in written.speeds


def test_a_model_ends_at_its_token_which_is_not_shown():
    first = generate(language_model().model, np.array([[65]]), 1, temperature=0)[0, 1]
    model = language_model(ends=[int(first)])
    written = model.write(np.array([65]), 20)
    assert (written.text, written.ended, written.tokens_written) == ("", True, 1)
    assert written.speeds.endswith("1 token written")


def test_a_prompt_leaves_room_or_is_refused():
    model = language_model(max_len=8)
    said = "stops after 2 of 20 tokens, before its end: the model knows sequences of 8 tokens"
    with pytest.warns(UserWarning, match=said):
        assert model.write(np.arange(6), 20).tokens_written == 2
    with pytest.raises(InputError, match="has 8 tokens, and the model knows sequences of 8"):
        model.write(np.arange(8))
    with pytest.raises(InputError, match="the prompt is empty"):
        model.write(np.arange(0))


def test_a_conversation_looks_at_each_token_once_and_answers_as_without_a_cache():
    model = language_model(Plain())
    chat = Chat(model, "sys", max_tokens=6, temperature=0.0)
    messages = [{"role": "system", "content": "sys"}]
    for turn, words in enumerate(["hello", "and now?", "bye"]):
        answer = chat.answer(words)
        messages.append({"role": "user", "content": words})
        whole = model.tokenizer.encode_chat(messages)
        want = model.write(whole, 6)
        assert answer.text == want.text
        np.testing.assert_array_equal(answer.ids[-6:], want.ids[-6:])
        assert answer.tokens_read == len(whole) if turn == 0 else answer.tokens_read < 40
        messages.append({"role": "assistant", "content": answer.text})


def test_a_long_conversation_forgets_its_beginning_and_keeps_its_task():
    model = language_model(Plain())
    chat = Chat(model, "sys", max_tokens=4, context=40, temperature=0.0)
    for words in ("one", "two", "three", "four"):
        answer = chat.answer(words)
        assert len(answer.ids) <= 40
    assert model.tokenizer.decode(answer.ids).startswith("s:sys\nu:")
    with pytest.raises(InputError, match=r"has \d+ tokens, and a conversation has room for 40"):
        chat.answer("x" * 40)


def test_an_answer_that_is_interrupted_leaves_the_conversation_as_it_was():
    model = language_model(Plain())
    chat, undisturbed = (Chat(model, max_tokens=5, temperature=0.0) for _ in range(2))
    for one in (chat, undisturbed):
        one.answer("hello")

    def interrupt(piece):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.answer("and?", show=interrupt)
    np.testing.assert_array_equal(chat.answer("go").ids, undisturbed.answer("go").ids)


def test_a_model_that_was_not_made_for_it_does_not_chat():
    with pytest.raises(CheckpointError, match="has no chat template"):
        Chat(language_model())
    with pytest.raises(CheckpointError, match="has no token that ends an answer"):
        Chat(language_model(Plain(), ends=()))
    with pytest.raises(CheckpointError, match="has no chat template"):
        language_model().tokenizer.encode_chat([])


def test_a_tokenizer_that_does_not_match_the_model_is_refused():
    model = language_model().model
    larger = tokenizer(ends=[300])
    with pytest.raises(CheckpointError, match="has ids up to 300, and the model a vocabulary of"):
        LanguageModel(model, larger)
    assert isinstance(larger, Tokenizer)


@pytest.fixture
def opened(monkeypatch):
    model = language_model(Plain())
    monkeypatch.setattr(LanguageModel, "open", classmethod(lambda cls, path: model))
    return model


def test_chat_answers_each_line_and_exits(opened, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\nbye"))
    words = ["chat", "x", "--max-tokens", "3", "--temperature", "0"]
    out = said(capsys, *words)
    chat = Chat(opened, max_tokens=3, temperature=0.0)
    assert out == "".join(f"{chat.answer(line).text}\n" for line in ("hello", "bye"))


class Keyboard(io.StringIO):
    """A terminal at which a line is typed, and then Ctrl-D, or Ctrl-C."""

    def __init__(self, end):
        super().__init__("hello\n")
        self.end = end

    def isatty(self):
        return True

    def readline(self, *_):
        line = super().readline()
        if not line and self.end:
            raise self.end
        return line


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_ctrl_c_and_ctrl_d_end_a_conversation(end, opened, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Keyboard(end))
    out = said(capsys, "chat", "x", "--max-tokens", "3", "--temperature", "0")
    assert out.endswith("\n")


def test_generate_shows_the_prompt_and_repeats_itself_by_its_seed(opened, capsys, monkeypatch):
    words = ["generate", "x", "To be", "--max-tokens", "8", "--temperature", "1", "--top-k", "50"]
    out = said(capsys, *words)
    assert out.startswith("To be")
    assert out == said(capsys, *words, "--seed", "0") != said(capsys, *words, "--seed", "1")
    monkeypatch.setattr(sys, "stdin", io.StringIO("To be"))
    assert said(capsys, "generate", "x", *words[3:]) == out
    assert "the prompt is empty" in said(capsys, "generate", "x", "", status=2)


def test_what_is_no_character_is_named():
    for encode in (tokenizer().encode, lambda text: tokenizer().encode_batch(["a", text])):
        with pytest.raises(ValueError, match=r"'\\udcff' at 2 is no character; expected text that"):
            encode("ab\udcff")


def test_a_token_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(Bytes, "token_to_id", {"a": 97}.get, raising=False)
    assert tokenizer().id_of("a") == 97
    with pytest.raises(CheckpointError, match="the tokenizer bytes has no token '<pad>'"):
        tokenizer().id_of("<pad>")


def test_a_template_that_renders_nothing_is_named():
    class Nothing:
        def render(self, messages):
            return ""

    with pytest.raises(CheckpointError, match="template of bytes renders nothing for these mess"):
        Chat(language_model(Nothing())).answer("Good day")


def test_generate_says_that_the_context_is_full_and_shows_no_prompt_that_it_refuses(
    monkeypatch, capsys
):
    model = language_model(max_len=8)
    monkeypatch.setattr(LanguageModel, "open", classmethod(lambda cls, path: model))
    assert main(["generate", "x", "To be", "--max-tokens", "20"]) == 0
    assert "npformer: note: the text stops after 3 of 20 tokens" in capsys.readouterr().err
    assert main(["generate", "x", "To be", "--max-tokens", "3"]) == 0
    assert "note" not in capsys.readouterr().err
    for prompt in ("", "much too long"):
        assert main(["generate", "x", prompt]) == 2
        assert capsys.readouterr().out == ""


def test_an_answer_that_fills_the_conversation_says_so():
    chat = Chat(language_model(Plain()), max_tokens=30, context=12, temperature=0.0)
    with pytest.warns(UserWarning, match="stops after 5 of 30 .* a conversation has room for 12 t"):
        chat.answer("hi")
