"""What the tests of training share: the small model as a public one, and a good checkpoint."""

import pytest
from training.files import trainer
from training.small_model import Small, batch, everything

import npformer.models


@pytest.fixture(autouse=True, scope="module")
def _registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npformer.models, "Small", Small, raising=False)
        patch.setattr(npformer.models, "__all__", [*npformer.models.__all__, "Small"])
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A place to write broken files to."""
    return tmp_path_factory.mktemp("checkpoints") / "c"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good checkpoint."""
    t = trainer()
    for step in range(2):
        t.step(*batch(step))
    file = tmp_path_factory.mktemp("whole") / "c"
    t.save(file, note="x")
    return file.read_bytes()


@pytest.fixture(scope="module")
def receiver():
    """A trainer of the same kind in another state, and that state."""
    t = trainer(7)
    t.step(*batch(9))
    return t, everything(t)
