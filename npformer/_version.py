"""The version, in one place: read by setup.cfg, by checkpoints and by ``npformer --version``."""

__version__ = "0.1.0"
