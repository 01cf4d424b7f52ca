"""A small valid configuration around the section that a test is about."""

from typing import Any

from fl_sv.config import Config

COMPANIES = ("Ash", "Beech", "Chestnut", "Damson")


def config_of(
    data: dict[str, Any], companies: tuple[str, ...] = COMPANIES, seed: int = 7, **sections: Any
) -> Config:
    if data.get("source") != "own":
        data = {"partition": {"kind": "iid"}, **data}
    return Config.model_validate(
        {
            "seed": seed,
            "companies": companies,
            "data": data,
            "models": {
                "small": [{"kind": "mlp", "hidden": [4]}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "payouts": {"pot": {"kind": "fixed", "cents": 100}},
            **sections,
        }
    )
