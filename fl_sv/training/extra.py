"""The packages of fl-sv[lm], without which nothing pretrained is trained."""

from importlib.util import find_spec

from fl_sv.errors import InputError, listed

EXTRA = ("transformers", "peft", "tokenizers")


def require_extra() -> None:
    """Raises InputError where the packages of fl-sv[lm] are missing."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise InputError(
            f"A pretrained model needs {listed(missing)}; install them with `pip install"
            " 'fl-sv[lm]'`."
        )
