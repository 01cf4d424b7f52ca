"""The folder of a pretrained model, as far as it is known without torch."""

import json
from pathlib import Path

from fl_sv.errors import InputError
from fl_sv.files import read_text

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST_CONFIG = 10_000_000  # bytes


def description(folder: Path) -> str:
    """The text of config.json. Raises InputError where the folder holds no pretrained model."""
    try:
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise InputError(
                f"path: {folder} {what}. Give the local folder of a pretrained model, with {CONFIG}"
                f" and {WEIGHTS}; nothing is downloaded."
            )
        if not (folder / CONFIG).is_file():
            raise InputError(
                f"path: {folder} has no {CONFIG}. Give the folder of a model in the Hugging Face"
                " format (save_pretrained)."
            )
        if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
            raise InputError(
                f"path: {folder} has no {WEIGHTS}. Save the weights as safetensors"
                " (save_pretrained); other formats may hold code, and are not read."
            )
        text = read_text(folder / CONFIG, MOST_CONFIG)
        content = json.loads(text)
    except OSError as error:
        raise InputError(f"path: {folder} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"path: {folder / CONFIG} is no JSON: {error}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise InputError(
            f"path: {folder / CONFIG} names no `model_type`, so it is of no transformer."
        )
    return json.dumps(content, sort_keys=True)
