"""Pictures as SVG files: equal results give equal bytes."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure


def save(figure: Figure, path: Path) -> None:
    """Writes the figure without a date and with fixed identifiers; texts stay texts."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fl-sv"}):
        figure.savefig(path, metadata={"Date": None})
