"""Tokenizers and chat templates: of folders, of a GGUF file, broken ones and hostile ones."""

import json

import numpy as np
import pytest
import tokenizers
import transformers

from npformer.core.errors import CheckpointError
from npformer.formats import ChatTemplate, open_tokenizer

TEXTS = [
    "The capital of France is",
    "In 1984 there were 12,345 cats.",
    "naïve café — 日本語 😀👩‍👩‍👧",
    "  two  spaces\n\n\ttab",
    "<|im_start|>user\nhi<|im_end|>\n",
]
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def of_gguf(smollm2):
    return open_tokenizer(smollm2)


def test_a_gguf_tokenizer_is_that_of_transformers(of_gguf, smollm2):
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    for text in TEXTS:
        ids = of_gguf.encode(text)
        assert ids.tolist() == theirs(text)["input_ids"]
        assert of_gguf.decode(ids, special=True) == text
    assert (of_gguf.size, of_gguf.ends) == (49152, {2})
    assert of_gguf.decode(of_gguf.encode(TEXTS[-1])) == "user\nhi\n"
    messages = [{"role": "user", "content": "hi"}]
    want = theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert of_gguf.encode_chat(messages).tolist() == want


def test_digits_stand_alone(of_gguf):
    assert [of_gguf.decode([i]) for i in of_gguf.encode("a 1984")] == ["a", " ", *"1984"]


def test_a_stream_of_real_tokens_shows_whole_characters(of_gguf):
    text = TEXTS[2] * 9
    stream = of_gguf.stream()
    pieces = [stream.add(token) for token in of_gguf.encode(text)]
    assert "".join(pieces) + stream.end() == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.fixture
def folder(tmp_path):
    """A tokenizer of words, which puts a token before each text."""
    words = {"[BOS]": 0, "[EOS]": 1, "one": 2, "two": 3}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[EOS]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens(["[BOS]", "[EOS]"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 0)]
    )
    made.enable_padding(length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    options = {"eos_token": {"content": "[EOS]"}, "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    return tmp_path


def test_a_folder(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [3, 1]}')
    made = open_tokenizer(folder)
    assert made.encode("one two").tolist() == [0, 2, 3]
    assert made.encode("one two", special=False).tolist() == [2, 3]
    ids, mask, cut = made.encode_batch(["one", "two one two"], longest=3)
    np.testing.assert_array_equal(ids, [[0, 2, 0], [0, 3, 2]])
    np.testing.assert_array_equal(mask, [[1, 1, 0], [1, 1, 1]])
    assert cut == [1]
    assert made.encode("one two one two").size == 5  # nothing of that is left
    assert (made.size, made.ends) == (4, {1, 3})
    assert made.chats
    (folder / "chat_template.jinja").write_text("one")
    assert open_tokenizer(folder).encode_chat([]).tolist() == [2]


def test_a_table_may_be_larger_than_the_tokenizer_and_not_smaller(folder):
    open_tokenizer(folder).check(64)
    with pytest.raises(CheckpointError, match="has ids up to 3, and the model a vocabulary of 3;"):
        open_tokenizer(folder).check(3)


def test_folders_without_a_tokenizer_or_with_a_broken_one(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is no tokenizer"):
        open_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json; it holds tokenizer_conf"):
        open_tokenizer(folder)


MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ messages[0].content.format.__globals__ }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_reaches_nothing_but_the_conversation(source):
    try:
        text = ChatTemplate(source, "a", {}).render(MESSAGES)
    except CheckpointError as error:
        text = str(error).partition("the chat template of a")[0]
    assert text == ""  # refused, or what it asked for does not exist for it
    assert MESSAGES == [{"role": "user", "content": "hi"}]


def test_a_template_may_refuse_and_may_be_broken():
    with pytest.raises(CheckpointError, match="of a refuses the conversation: no"):
        ChatTemplate("{{ raise_exception('no') }}", "a", {}).render([])
    with pytest.raises(CheckpointError, match="the chat template of a is broken"):
        ChatTemplate("{% if %}", "a", {})


def test_what_templates_use():
    source = "{% for m in messages %}{% break %}{% endfor %}{{ messages | tojson }}"
    source += "{{ strftime_now('%Y')[:2] }}{{ add_generation_prompt }}{{ bos_token }}"
    text = ChatTemplate(source, "a", {"bos_token": "<s>"}).render([{"role": "ä"}])
    assert text == '[{"role": "ä"}]20True<s>'
