"""The README holds: its code runs, its links lead somewhere, its shell blocks are what they say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_block_runs(number, capsys):
    exec(compile(BLOCKS[number], f"README.md, block {number + 1}", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_the_example_layer_passes_its_check(capsys):
    names: dict = {}
    exec(BLOCKS[0], names)
    assert names["report"].ok
    assert "PASS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("slope = dy * x * s", "slope = dy * s"), ("np.sum(slope", "np.mean(slope")],
)
def test_the_example_layer_fails_when_it_is_broken_as_the_text_says(right, wrong):
    assert right in BLOCKS[0]
    with pytest.raises(AssertionError, match="FAIL"):
        exec(BLOCKS[0].replace(right, wrong), {})


def test_the_example_of_generation_says_what_it_prints():
    names: dict = {}
    exec(BLOCKS[1], names)
    said = re.search(r"temperature=0\)\)  # ([\d ]+)\n", BLOCKS[1])[1]
    written = names["generate"](names["model"], names["np"].array([[3, 4, 5]]), 6, temperature=0)
    assert written[0].tolist() == [int(n) for n in said.split()]


def test_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_first_shell_blocks_set_up_and_run():
    run, test = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[:2]
    assert "npformer train dates" in run
    assert "pytest" in test
    assert "git clone" not in run + test
