"""The speech recipe: its clips and how they are split, both heads, recordings, what it refuses."""

import json
import wave

import numpy as np
import pytest

from npformer.audio import RATE
from npformer.cli import main
from npformer.models import CTC, Whisper
from npformer.recipes import Speech, _clips, speech
from npformer.recipes._clips import ERROR, NEW_WORDS_ERROR, Shape, plain
from npformer.recipes._formants import say
from npformer.recipes._settings import InputError
from npformer.recipes._spoken_words import SOUNDS
from npformer.recipes.speech import END, NONE, START, SpeechSettings, transcribe

SIZES = {"d_model": 8, "heads": 2, "layers": 1, "n_mels": 8, "seconds": 0.3, "batch": 4}
OPTIONS = ["--steps", "3", "--batch", "4", "--d-model", "8", "--heads", "2", "--layers", "1"]
OPTIONS += ["--mels", "8", "--seconds", "0.3"]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(_clips, "SOUNDS", dict(list(SOUNDS.items())[:40]))
    monkeypatch.setattr(_clips, "_TAKES", 2)
    monkeypatch.setattr(_clips, "_KNOWN", 5)
    monkeypatch.setattr(speech, "_LOOK", 3)


def make(**options):
    return Speech(SpeechSettings(**SIZES | options))


def write(path, samples, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path):
    """Twenty recordings of noise, each louder; the last one is longer than a clip."""
    rng = np.random.default_rng(0)
    place = tmp_path / "recordings"
    place.mkdir()
    lines = ["file\ttext"]
    for i in range(20):
        seconds = 0.25 if i < 19 else 0.4
        write(place / f"{i}.wav", rng.uniform(-1, 1, round(8000 * seconds)) * (i + 1) / 20)
        lines.append(f'{i}.wav\tNumber {i}, "said"...'.replace('"', "“"))
    (place / "transcripts.tsv").write_text("\n".join(lines), encoding="utf-8")
    return place


def test_held_out_words_and_speakers_are_never_trained_on(monkeypatch):
    voices = {}
    monkeypatch.setattr(
        _clips, "say", lambda sounds, who, *rest: (voices[now].add(who.pitch), np.ones(4800))[1]
    )
    recipe = make()
    parts = {"train": recipe.train, **recipe.held_out}
    for now, clips in parts.items():
        voices[now] = set()
        clips.spectra(range(len(clips.texts)))
    assert not voices["train"] & (voices[ERROR] | voices[NEW_WORDS_ERROR])
    assert len(voices["train"]) > 20
    known = set(recipe.train.texts)
    assert len(recipe.train.texts) == 2 * len(known) == 72
    assert set(recipe.held_out[ERROR].texts) < known
    assert len(set(recipe.held_out[NEW_WORDS_ERROR].texts) - known) == 4


def test_a_clip_is_made_once_and_is_a_function_of_its_number():
    a, b = make().train, make().train
    first = a.spectra([7, 3])
    assert first.shape == (2, 8, 30)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[::-1], b.spectra([3, 7]))
    assert np.abs(first[0] - first[1]).max() > 0.1
    a._make = None
    np.testing.assert_array_equal(a.spectra([3]), first[1:])
    assert np.abs(make(seed=1).train.spectra([7]) - first[:1]).max() > 0.1


def test_what_the_decoder_is_asked():
    recipe = make()
    mel, target_in, targets = recipe.examples(recipe.train, [0, 1, 2])
    assert mel.shape == (3, 8, 30)
    v = recipe.vocabulary
    for i, (asked, answer) in enumerate(zip(target_in, targets, strict=True)):
        text, n = recipe.train.texts[i], len(recipe.train.texts[i])
        assert v.decode(asked[: n + 1]) == START + text
        assert v.decode(answer[: n + 1]) == text + END
        assert (answer[n + 1 :] == -100).all()


def test_what_ctc_is_asked():
    recipe = make(head="ctc")
    _, targets = recipe.examples(recipe.train, [0, 1, 2])
    assert recipe.vocabulary.tokens[0] == NONE
    for text, answer in zip(recipe.train.texts, targets, strict=False):
        assert recipe.vocabulary.decode(answer[answer != -100]) == text
        assert (answer[len(text) :] == -100).all()


def test_a_batch_is_different_clips_and_a_function_of_the_step():
    recipe = make()
    a, b, c = recipe.batch(5), recipe.batch(5), recipe.batch(6)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    assert a[0].shape == (4, 8, 30)
    assert len(np.unique(a[0].reshape(4, -1), axis=0)) == 4
    assert np.abs(a[0] - c[0]).max() > 0


def test_the_guesses():
    recipe = make()
    words, rate = recipe.guesses[ERROR]
    assert words.startswith("always '")
    assert 0.5 < rate <= 1
    known, new = set(recipe.train.texts), recipe.held_out[NEW_WORDS_ERROR].texts
    words, rate = recipe.guesses[NEW_WORDS_ERROR]
    assert "nearest" in words
    nearest = sum(min(speech.edit_distances(text, sorted(known))) for text in new)
    assert rate == pytest.approx(nearest / len("".join(new)))
    assert recipe.describe().count("for a guess") == 2


class Parrot:
    """A model that writes the same, whatever it hears."""

    def __init__(self, recipe, text):
        self.recipe, self.text = recipe, text

    def loss_weight(self, mel, *_):
        return len(mel)

    def loss(self, mel, *_):
        return np.float32(len(mel)), None


def test_the_error_rate_is_of_what_is_written(monkeypatch):
    recipe = make()
    monkeypatch.setattr(speech, "transcribe", lambda model, v, mel: [model.text] * len(mel))
    monkeypatch.setattr(speech, "_ROWS", 2)
    text = recipe.guesses[ERROR][0].split("'")[1]
    measures, shown = recipe.judge(Parrot(recipe, text))
    assert measures[ERROR] == pytest.approx(recipe.guesses[ERROR][1])
    assert measures[NEW_WORDS_ERROR] >= recipe.guesses[NEW_WORDS_ERROR][1]
    assert measures["loss"] == pytest.approx((2 * 2 + 2 * 2 + 1) / 5)
    assert f">  {text}" in shown


@pytest.mark.parametrize(("head", "kind"), [("decoder", Whisper), ("ctc", CTC)])
def test_a_run_writes_what_every_run_writes(head, kind, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "speech", *OPTIONS, "--head", head, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "36 words by 200 synthetic speakers to train on" in said
    assert json.loads((out / "config.json").read_text())["model"]["type"] == kind.__name__
    result = json.loads((out / "result.json").read_text())
    assert set(result["held_out"]) == {"loss", ERROR, NEW_WORDS_ERROR}
    write(tmp_path / "cat.wav", say("kAt", *_speaker(), 0.2), RATE)
    for prompt in (["--prompt", "Cat"], ["--prompt", str(tmp_path / "cat.wav")], []):
        assert main(["sample", str(out), *prompt, "--tokens", "3"]) == 0
        assert len(capsys.readouterr().out) <= 3 + len("\n")
    assert main(["train", "speech", "--resume", "--steps", "4", "--out", str(out)]) == 0


def _speaker():
    rng = np.random.default_rng(0)
    return speech.draw_speaker(rng), rng


@pytest.mark.parametrize("head", ["decoder", "ctc"])
def test_pictures_are_of_what_was_heard_when(head):
    recipe = make(head=head)
    model = recipe.initial_model()
    kinds = {"decoder": [None, "cross", "self", "encoder"], "ctc": [None, "encoder"]}
    for kind in kinds[head]:
        shown = Speech.attend(model, recipe.vocabulary, "cat", kind=kind)
        assert shown.weights.shape == (len(shown.queries), len(shown.keys))
        assert "“cat” heard as" in shown.title
        if kind != "self":
            assert len(shown.keys) == 15
            assert shown.spectrum.shape == (8, 30)
            assert shown.keys[:6] == ["0.0", "", "", "", "", "0.1"]


def test_the_picture_of_ctc_has_the_probability_of_what_it_writes():
    recipe = make(head="ctc")
    model = recipe.initial_model()
    model.head.bias.value[recipe.vocabulary.ids["e"]] = 9.0
    shown = Speech.attend(model, recipe.vocabulary, "cat")
    assert shown.queries == ["none", "e"]
    assert shown.what == "probability"
    assert (shown.weights[1] > 0.9).all()
    assert np.all(shown.weights.sum(axis=0) <= 1 + 1e-5)
    with pytest.raises(InputError, match="--kind is cross; a model with CTC has encoder"):
        Speech.attend(model, recipe.vocabulary, "cat", kind="cross")


def test_a_model_writes_no_more_than_it_is_asked_to():
    recipe = make()
    model, mel = recipe.initial_model(), recipe.train.spectra([0])
    whole = transcribe(model, recipe.vocabulary, mel)[0]
    assert transcribe(model, recipe.vocabulary, mel, 2)[0] == whole[:2]
    assert transcribe(model, recipe.vocabulary, mel, 500)[0] == whole


def test_texts_are_taken_plainly():
    assert plain("  Don't -- PRESS 1,\tplease!… Où? ") == "don't press 1 please où"


def test_recordings_of_a_folder(folder, tmp_path, capsys):
    recipe = make(data=str(folder))
    assert "18 recordings to train on, 1 held out, 1 left out as longer than 0.3 s" in recipe.about
    assert len(recipe.train.texts) == 3 * 18
    assert set(recipe.held_out) == {ERROR}
    assert not set(recipe.train.texts) & set(recipe.held_out[ERROR].texts)
    number = int(recipe.held_out[ERROR].texts[0].split()[1])
    assert recipe.held_out[ERROR].texts[0] == f"number {number} said"
    heard = _clips.heard(folder / f"{number}.wav", Shape(8, 15))
    np.testing.assert_array_equal(recipe.held_out[ERROR].spectra([0])[0], heard)
    out = tmp_path / "run"
    command = ["train", "speech", *OPTIONS, "--out", str(out)]
    assert main([*command, "--data", str(folder)]) == 0
    assert main(["sample", str(out), "--prompt", str(folder / "0.wav")]) == 0
    capsys.readouterr()
    assert main(["sample", str(out), "--prompt", str(folder / "19.wav")]) == 2
    assert "19.wav lasts 0.40 s; the model hears clips of at most 0.3 s" in capsys.readouterr().err


def test_faster_takes_of_a_recording_are_shorter(folder):
    train = make(data=str(folder)).train
    spectra = train.spectra([0, 18, 36])  # one recording at three speeds
    silence = spectra.min(axis=(1, 2), keepdims=True)
    frames = (spectra > silence + 0.1).any(axis=1).sum(axis=1)
    # A frame is heard in its neighbours, too.
    np.testing.assert_allclose(frames, 2 + 25 / np.array([1, 1.1, 1.2]), atol=1)


def test_other_recordings_than_the_run_began_with(folder, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "speech", "--data", str(folder), "--out", str(out)]
    assert main([*command, *OPTIONS]) == 0
    write(folder / "7.wav", np.random.default_rng(1).uniform(-1, 1, 2000))
    capsys.readouterr()
    assert main([*command, "--resume", "--steps", "4"]) == 2
    assert "are not the clips that the run began with; give those as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "nowhere"], "--data nowhere is no folder; expected one with WAV files"),
        (["--data", __file__], "is no folder; expected one with WAV files and transcripts.csv"),
        (["--head", "rnn"], "got 'rnn', expected decoder or ctc"),
        (["--mels", "300"], "n_mels is 300, so many that some filters lie between"),
        (["--d-model", "7", "--heads", "1"], "d_model is 7; expected an even number"),
        (["--seconds", "0.1", "--head", "ctc"], "needs 6 steps with --head ctc, and clips of 0.1"),
    ],
)
def test_what_cannot_be_trained_on(more, said, tmp_path, capsys):
    assert main(["train", "speech", *OPTIONS, *more, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, "", "transcripts.csv cannot be read: "),
        ("transcripts.csv", "", "transcripts.csv lists nothing"),
        ("transcripts.tsv", "file\ttext\n", "transcripts.tsv lists nothing"),
        (
            "transcripts.csv",
            "0.wav\tone\n",
            "row 1 of transcripts.csv is ['0.wav\\tone']; expected",
        ),
        ("transcripts.csv", "file,text\n0.wav,...\n", "row 1 of transcripts.csv says '...', which"),
        ("transcripts.csv", "none.wav,one\n", "none.wav cannot be heard: "),
        ("transcripts.csv", "transcripts.csv,one\n", "transcripts.csv cannot be heard: "),
        ("transcripts.csv", "0.wav,one\n19.wav,two\n", "1 of 2 recordings last at most 0.3 s"),
        ("transcripts.csv", b"0.wav,\xff\n", "transcripts.csv cannot be read: "),
    ],
)
def test_folders_that_cannot_be_heard(name, content, said, folder):
    (folder / "transcripts.tsv").unlink()
    if name is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        make(data=str(folder))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (
            "xylophone",
            "'xylophone' is neither a WAV file (.wav) nor a word that can be synthesised",
        ),
        ("nowhere.wav", "nowhere.wav cannot be heard: "),
        ("noise.wav", "noise.wav is no WAV file, since it begins with b'not a sound'"),
        ("infinite.wav", "infinite.wav has infinite or NaN samples"),
    ],
)
def test_what_cannot_be_heard(prompt, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.wav").write_bytes(b"not a sound")
    header = (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0" + np.array([8000, 32000], "<i4").tobytes()
    )
    data = np.full(9, np.inf, "<f4").tobytes()
    header += b"\x04\0\x20\0data" + np.array([len(data)], "<i4").tobytes()
    (tmp_path / "infinite.wav").write_bytes(header + data)
    recipe = make()
    with pytest.raises(InputError) as error:
        Speech.respond(recipe.initial_model(), recipe.vocabulary, prompt, None)
    assert said in str(error.value)
