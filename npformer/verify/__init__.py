"""Checks of hand-written gradients, behind `npformer.gradcheck`.

In the order of a check: `target` (one view of layers and pairs of functions), `conduct` (the
analytic gradients, and what is written to or kept), `noise` (what rounding hides), `kinks` (where
there is no derivative), `complex_step` and `central_difference` (numeric derivatives), `choice`
(which of the two), `comparison` (entry by entry), `persistence` (error or rounding), `probes` (all
at once), `diagnosis` (what is wrong, in words), `blind_spots` (what could not be seen), `report`.
`StatefulLayer` brings layers of another style.
"""

from .gradcheck import gradcheck
from .report import Entry, Finding, GradientReport, Probe, Reading
from .stateful import StatefulLayer

__all__ = ["gradcheck", "GradientReport", "Entry", "Reading", "Finding", "Probe", "StatefulLayer"]
