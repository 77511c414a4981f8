"""What `import npformer` does: little, lazily, and with nothing but NumPy."""

import importlib
import json
import subprocess
import sys

import pytest

import npformer


def newly_loaded(statements):
    """Modules that `statements` load beyond those that NumPy and the start of Python do."""
    code = (
        "import json, sys, numpy.random; before = set(sys.modules)\n"
        f"{statements}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def packages(modules):
    """Top-level packages of `modules` that are not the standard library's."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


def test_the_import_alone_loads_next_to_nothing():
    loaded = newly_loaded("import npformer")
    ours = [name for name in loaded if name.startswith("npformer")]
    assert ours == ["npformer", "npformer._lazy", "npformer._version"]
    assert packages(loaded) == {"npformer"}


def test_everything_public_needs_only_numpy():
    loaded = newly_loaded(
        "import npformer, npformer.cli\n"
        "for name in npformer.__all__:\n"
        "    part = getattr(npformer, name)\n"
        "    for name in getattr(part, '__all__', []):\n"
        "        getattr(part, name)"
    )
    assert {"npformer.models.gpt", "npformer.training.trainer"} <= set(loaded)
    assert packages(loaded) <= {"npformer", "numpy"}


def test_a_part_loads_what_it_stands_on_and_no_more():
    loaded = newly_loaded("import npformer; npformer.layers")
    floors = {name.split(".")[1] for name in loaded if name.startswith("npformer.")}
    assert floors == {"_lazy", "_version", "biases", "core", "functional", "layers", "masks"}


def test_a_name_is_the_thing_itself_and_stays():
    assert npformer.Layer is importlib.import_module("npformer.core.layer").Layer
    assert "Layer" in vars(npformer)  # the second look does not come to __getattr__
    assert npformer.models is sys.modules["npformer.models"]


def test_every_public_name_is_there():
    for package in (npformer, *(getattr(npformer, part) for part in npformer.__all__)):
        for name in getattr(package, "__all__", []):
            assert getattr(package, name) is not None
            assert name in dir(package)


@pytest.mark.parametrize("name", ["Parameter", "Layer", "Run", "gradcheck", "functional"])
def test_the_contract_names(name):
    assert name in npformer.__all__


def test_star_import():
    names = {}
    exec("from npformer import *", names)  # what a reader may type
    assert names["Run"] is npformer.Run
    assert names["gradcheck"] is npformer.gradcheck


@pytest.mark.parametrize("package", [npformer, npformer.training])
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Tra"):
        _ = package.Trainr
    assert not hasattr(package, "Trainr")


def test_the_version_is_the_installed_one():
    assert npformer.__version__ == importlib.metadata.version("npformer")
