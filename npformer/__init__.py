"""npformer: the Transformer in pure NumPy, every backward pass derived and coded by hand.

Read in this order: `npformer.core` (what a layer and its gradient are), `npformer.functional`
(the mathematics, one operation a file), `npformer.layers`, `npformer.models`,
`npformer.training`. `npformer.gradcheck` proves any of it, and code of your own.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import (
        audio,
        biases,
        core,
        formats,
        functional,
        generation,
        interop,
        layers,
        masks,
        models,
        training,
        verify,
    )
    from .core.layer import Layer
    from .core.parameter import Parameter
    from .core.run import Run
    from .core.threads import num_threads, set_num_threads
    from .verify.gradcheck import gradcheck
    from .verify.report import GradientReport

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Parameter": "core.parameter",
        "Layer": "core.layer",
        "Run": "core.run",
        "num_threads": "core.threads",
        "set_num_threads": "core.threads",
        "gradcheck": "verify.gradcheck",
        "GradientReport": "verify.report",
        "core": "",
        "masks": "",
        "biases": "",
        "functional": "",
        "layers": "",
        "formats": "",
        "audio": "",
        "models": "",
        "training": "",
        "generation": "",
        "interop": "",
        "verify": "",
        "catalogue": "",
    },
)
