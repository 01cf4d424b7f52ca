"""The key `data.text`: how texts become rows of tokens (`task: next_token`)."""

from typing import Annotated

from pydantic import Field

from fl_sv.config.base import Frozen
from fl_sv.config.keys import Key


class Text(Frozen):
    """Texts as rows of tokens: a model predicts the next token at every place of a row."""

    tokenizer: Annotated[str, Key(path="always", to_companies="a placeholder")] = Field(
        min_length=1,
        description=(
            "a tokenizer.json of the package tokenizers; a company's node reads its own, in the"
            " folder of its bases"
        ),
    )
    column: str = Field(
        "text", min_length=1, description="key of a .jsonl, or column of a .parquet, with the texts"
    )
    places: int = Field(64, ge=2, le=65_536, description="tokens that are predicted in a row")
    packed: bool = Field(
        True,
        description=(
            "whether an owner's documents follow each other without a gap; else every document"
            " begins a row, and a row's places after its end do not count"
        ),
    )
