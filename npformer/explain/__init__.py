"""One operation step by step, with every number: what ``npformer explain`` shows."""

from .text import as_text
from .trace import Explanation, Step, explain

__all__ = ["Explanation", "Step", "as_text", "explain"]
