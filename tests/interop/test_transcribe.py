"""A Whisper folder that writes down what it hears: what transformers writes, window by window."""

import json
import struct
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import transformers
from interop.hugging_face import config_of, drawn, saved, silently
from interop.test_audio import speech_like
from interop.whisper import MARKS, SIZES, whisper_folder, whisper_tokenizer
from support.recipes import said

from npformer.audio import RATE, resample
from npformer.core.errors import CheckpointError
from npformer.hub import Transcriber


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose model knows three languages."""
    path = tmp_path_factory.mktemp("whisper")
    whisper_folder(path, 4)
    return path


def transcribed(transcriber, *arguments, **options):
    """What is written, without the warning that it does not end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*did not end by themselves")
        return transcriber.transcribe(*arguments, **options)


def written(path, samples, rate, channels=1):
    """A WAV file of 16 bits."""
    data = np.repeat((samples * 2**15).round().astype("<i2"), channels).tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data)
    return str(path)


@pytest.mark.parametrize(
    ("many", "options"),
    [
        (True, {"task": "transcribe"}),  # the language is heard
        (True, {"task": "translate", "language": "fr"}),
        (False, {}),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_what_is_written_is_theirs(seed, many, options, tmp_path):
    model = whisper_folder(tmp_path, seed, many)
    sound = speech_like(0.8, seed)
    extract = transformers.WhisperFeatureExtractor(SIZES["num_mel_bins"], chunk_length=1)
    features = extract(sound, sampling_rate=RATE, return_tensors="pt")["input_features"]
    want = silently(model.generate, features, **options)[0].tolist()
    found = transcribed(Transcriber.open(tmp_path), sound, **options)
    assert found.text == whisper_tokenizer().decode(want).strip() != ""
    if "language" not in options:
        heard = silently(model.detect_language, features).item() if many else None
        assert (
            found.language and whisper_tokenizer().token_to_id(f"<|{found.language}|>")
        ) == heard


def test_a_long_recording_is_heard_part_by_part(folder):
    transcriber = Transcriber.open(folder)
    sound = np.concatenate([speech_like(0.7), np.zeros(2000), speech_like(1.4, 1)]).astype("f4")
    shown = []
    found = transcribed(transcriber, sound, language="de", show=shown.append)
    assert found.parts == tuple(shown)
    assert len(found.parts) == 3
    assert found.parts[0].start == 0
    assert 0.7 < found.parts[0].end < 0.9  # about the pause, of 0.125 s
    for one, two in pairwise(found.parts):
        assert one.end == two.start
    assert found.parts[-1].end == len(sound) / RATE
    for part in found.parts:
        piece = sound[round(part.start * RATE) : round(part.end * RATE)]
        assert part.text == transcribed(transcriber, piece, language="de").text
    assert found.text == " ".join(part.text for part in found.parts)


def test_silence_has_no_text(folder):
    found = Transcriber.open(folder).transcribe(np.zeros(RATE // 2, np.float32))
    assert found.text == ""


def test_a_text_without_end_is_said(tmp_path):
    whisper_folder(tmp_path, 4)
    with pytest.warns(UserWarning, match=r"1 of 1 parts did not end by themselves, .* from 0.0 s"):
        Transcriber.open(tmp_path).transcribe(speech_like(0.5), language="en")


def changed(model, folder, **options):
    """Change how a model is to write, in its folder and in transformers' own."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    with config_of(folder) as config:
        config.update(options)
    for name, value in options.items():
        setattr(model.generation_config, name, value)
        setattr(model.config, name, value)
    return Transcriber.open(folder)


def heard(model, sound):
    """What transformers writes: ids."""
    extract = transformers.WhisperFeatureExtractor(SIZES["num_mel_bins"], chunk_length=1)
    features = extract(sound, sampling_rate=RATE, return_tensors="pt")["input_features"]
    return silently(model.generate, features, task="translate", language="fr")[0].tolist()


def test_what_is_not_to_be_written_first_and_times_never(tmp_path):
    model, sound = whisper_folder(tmp_path, 0), speech_like(0.8)
    options = {"task": "translate", "language": "fr"}
    first = heard(model, sound)
    banned = [*model.generation_config.begin_suppress_tokens, first[0]]
    transcriber = changed(model, tmp_path, begin_suppress_tokens=banned)
    want = heard(model, sound)
    assert want[0] != first[0]
    assert first[0] in want  # later it may be written
    found = transcribed(transcriber, sound, **options).text
    assert found == whisper_tokenizer().decode(want).strip()
    transcriber = changed(model, tmp_path, suppress_tokens=None)
    assert "<|0." in whisper_tokenizer().decode(heard(model, sound))  # theirs writes times
    for beams in (1, 3):
        found = transcribed(transcriber, sound, num_beams=beams, **options).text
        assert found
        assert "<|0." not in found


def test_the_command_reads_any_rate_and_channels(folder, tmp_path, capsys):
    sound = resample(speech_like(1.6), RATE, 8000) * 0.5
    path = written(tmp_path / "a.wav", sound, 8000, channels=2)
    words = ["transcribe", path, "--model", str(folder), "--language", "en"]
    read = ((sound * 2**15).round() / 2**15).astype(np.float32)
    want = transcribed(Transcriber.open(folder), read, 8000, language="en")
    assert len(want.parts) == 2
    assert said(capsys, *words) == "".join(f"{part.text}\n" for part in want.parts if part.text)
    lines = said(capsys, *words, "--times").splitlines()
    assert len(lines) >= 2
    assert lines[0].startswith("[00:00.0 - 00:0")
    assert "- 00:01.6]" in said(capsys, *words, "--times")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--language", "xx"], "the language is 'xx'; the model knows de, en, fr"),
        (["--task", "sing"], "--task: got 'sing', expected transcribe or translate"),
        (["--beams", "0"], "--beams: got '0', expected a whole number of at least 1"),
    ],
)
def test_options_that_make_no_sense(words, expected, folder, tmp_path, capsys):
    path = written(tmp_path / "a.wav", speech_like(0.2), RATE)
    command = ["transcribe", path, "--model", str(folder), *words]
    assert expected in said(capsys, *command, status=2)


def test_a_model_of_english_alone_has_no_language_to_choose(tmp_path):
    whisper_folder(tmp_path, many=False)
    transcriber = Transcriber.open(tmp_path)
    assert transcriber.languages == {}
    for options in ({"language": "en"}, {"task": "translate"}):
        with pytest.raises(Exception, match="knows English alone"):
            transcriber.transcribe(speech_like(0.1), **options)


def test_folders_that_are_no_whisper(folder, tmp_path, capsys):
    path = written(tmp_path / "a.wav", speech_like(0.2), RATE)
    other = saved(drawn("BertModel", {**BERT_SIZES}), tmp_path / "bert")
    command = ["transcribe", path, "--model"]
    said_of_it = said(capsys, *command, str(other), status=2)
    assert "describes a 'bert', which is a BERT, not a Whisper" in said_of_it
    assert "there is no nowhere; expected a folder" in said(capsys, *command, "nowhere", status=2)


BERT_SIZES = {
    "vocab_size": 9,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


def test_a_tokenizer_that_does_not_match(folder, tmp_path):
    whisper_folder(tmp_path)
    path = tmp_path / "tokenizer.json"
    larger = whisper_tokenizer()
    larger.add_tokens(["one more"])
    larger.save(str(path))
    with pytest.raises(CheckpointError, match="do not belong together"):
        Transcriber.open(tmp_path)
    lacking = [one for one in MARKS if one != "<|transcribe|>"]
    whisper_tokenizer(lacking).save(str(path))
    with pytest.raises(CheckpointError, match=r"not Whisper's: it has no <\|transcribe\|>; fetch"):
        Transcriber.open(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer.json"):
        Transcriber.open(tmp_path)


def test_lists_of_tokens_that_are_none(tmp_path):
    whisper_folder(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "suppress_tokens": "all"}))
    with pytest.raises(CheckpointError, match="'suppress_tokens' is 'all'; expected a list of ids"):
        Transcriber.open(tmp_path)


def test_the_oracle_itself_hears_a_difference(tmp_path):
    """Else the comparison above would show little."""
    model = whisper_folder(tmp_path, 0)
    torch.manual_seed(0)
    features = torch.randn(2, SIZES["num_mel_bins"], 100)
    one, two = silently(model.generate, features, language="fr", task="transcribe").tolist()
    assert one != two
