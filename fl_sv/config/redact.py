"""The config as it leaves the operator: without the paths of files on the operator's machine."""

from pathlib import Path, PurePath
from typing import Any

from fl_sv.config.base import FOLDER
from fl_sv.config.keys import Key, replaced
from fl_sv.config.models import Model, Pretrained
from fl_sv.config.schema import Config

WITHHELD = "withheld"  # the placeholder of an operator's path
BASES = "bases"  # the folder of a company's own pretrained bases, in its kit
TOKENIZER = "tokenizer.json"  # in that folder


def for_companies(config: Config) -> Config:
    """The config as companies get it. Each key's `to_companies` says what is sent of it.

    A company reads the file that its own node's config names, so no path of the operator is sent.
    Options of a user's function or module are sent as they are: fl-sv does not know what they mean.
    """
    return replaced(config, _sent)


def with_bases(config: Config, folder: str | Path) -> Config:
    """The config for a company whose pretrained bases and tokenizer lie in this folder.

    A base lies in a folder of its model's name, the tokenizer of texts in tokenizer.json. Paths
    that the company was given itself stay.
    """

    def own(model: Model) -> Model:
        if not (isinstance(model, Pretrained) and PurePath(model.path).name == WITHHELD):
            return model
        return model.model_copy(update={"path": str(Path(folder) / model.name)})

    models, data = config.models, config.data
    made = {"small": tuple(map(own, models.small)), "large": own(models.large)}
    if data.text is not None and PurePath(data.text.tokenizer).name == WITHHELD:
        text = data.text.model_copy(update={"tokenizer": str(Path(folder) / TOKENIZER)})
        data = data.model_copy(update={"text": text})
    return config.model_copy(update={"models": models.model_copy(update=made), "data": data})


def _sent(key: Key, value: Any) -> Any:
    if key.to_companies == "nothing":
        return None
    if key.names_file(value):
        if key.to_companies == "the suffix":
            return WITHHELD + (FOLDER if value.endswith(FOLDER) else PurePath(value).suffix)
        if key.to_companies == "a placeholder":
            return WITHHELD
    return value
