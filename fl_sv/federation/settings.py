"""The stored facts of a federation: its settings, and the node of each company."""

import sys
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, StringConstraints

from fl_sv.app import QUIET
from fl_sv.config.base import CompanyName, Frozen
from fl_sv.errors import InputError
from fl_sv.machine import software
from fl_sv.version import __version__

SETTINGS = "federation.yaml"
NODES = "nodes.yaml"
PORT, SUPERLINK_PORT = 443, 8000
HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"


class Settings(Frozen):
    """What operator and companies must know of the federation. Nothing in it is secret."""

    address: Annotated[str, StringConstraints(pattern=HOST, max_length=253)] = Field(
        description="of the proxy"
    )
    port: int = Field(PORT, ge=1, le=65_535, description="of the proxy")
    superlink_port: int = Field(
        SUPERLINK_PORT, ge=1, le=65_535, description="of the SuperLink, on the server's loopback"
    )
    companies: Annotated[tuple[CompanyName, ...], Field(strict=False, min_length=2)]
    software: dict[str, str]


def read_settings(folder: Path) -> Settings:
    """The settings in a federation's folder or kit. Raises InputError when there are none."""
    path = folder / SETTINGS
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"There is no {path}. Give --dir the folder that `fl-sv federation init` made."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from None


def write_settings(folder: Path, settings: Settings) -> None:
    """Writes the settings into a federation's folder or kit."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def shared_software() -> dict[str, str]:
    """Versions that must be the same on every machine."""
    ours = software()
    return {"fl-sv": __version__, "flwr": ours["flwr"], "fl_sv source": ours["fl_sv source"]}


def require_company(settings: Settings, company: str) -> None:
    """Raises InputError when the company does not belong to the federation."""
    if company not in settings.companies:
        raise InputError(
            f"There is no company {company!r} in this federation; it has"
            f" {', '.join(settings.companies)}."
        )


def read_nodes(folder: Path) -> dict[str, str]:
    """Flower's node id of each registered company."""
    try:
        return dict(yaml.safe_load((folder / NODES).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def add_node(folder: Path, company: str, node_id: str) -> None:
    """Enters the node id of a company that was registered; the file appears whole."""
    text = yaml.safe_dump(
        {**read_nodes(folder), company: node_id}, sort_keys=False, allow_unicode=True
    )
    temporary = folder / f".{NODES}.part"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / NODES)


def environment(folder: Path) -> dict[str, str]:
    """The environment variables of every process of the federation.

    They name Flower's folder and the operator's key in this folder, and keep Flower and Ray from
    making requests of their own to the network.
    """
    return {
        **QUIET,
        "FLWR_HOME": str(folder / "flower"),
        "FL_SV_HOME": str(folder / "owner"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    }
