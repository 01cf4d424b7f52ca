"""The version of fl-sv, as pyproject.toml has it."""

__version__ = "0.1.0"
