"""The stored facts of a federation: its settings, and the node of each company."""

import sys
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from fl_sv.app import QUIET, app_hash
from fl_sv.config.base import Frozen, first_problem
from fl_sv.config.dialect import parse_yaml, yaml_text
from fl_sv.config.names import CompanyName, LegalName, check_names
from fl_sv.errors import InputError
from fl_sv.files import read_text
from fl_sv.machine import software
from fl_sv.version import __version__

SETTINGS = "federation.yaml"
NODES = "nodes.yaml"
OWNER_HOME = "owner"  # the folder of the operator's signing key
PORT, SUPERLINK_PORT = 443, 8000
HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"

_Nodes = TypeAdapter(dict[CompanyName, Annotated[str, StringConstraints(pattern=r"^[0-9]+$")]])


class Settings(Frozen):
    """What operator and companies must know of the federation. Nothing in it is secret."""

    address: Annotated[str, StringConstraints(pattern=HOST, max_length=253)] = Field(
        description="of the proxy"
    )
    port: int = Field(PORT, ge=1, le=65_535, description="of the proxy")
    superlink_port: int = Field(
        SUPERLINK_PORT, ge=1, le=65_535, description="of the SuperLink, on the server's loopback"
    )
    companies: Annotated[
        tuple[CompanyName, ...], Field(strict=False, min_length=2), AfterValidator(check_names)
    ]
    names: dict[CompanyName, LegalName] = Field({}, description="where they differ from handles")
    software: dict[str, str]


def read_settings(folder: Path) -> Settings:
    """The settings in a federation's folder or kit. Raises InputError when there are none."""
    path = folder / SETTINGS
    try:
        return Settings.model_validate(_read(path))
    except FileNotFoundError:
        raise InputError(
            f"There is no {path}. Give --dir the folder that `fl-sv federation init` made."
        ) from None
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {first_problem(error)}.") from None


def write_settings(folder: Path, settings: Settings) -> None:
    """Writes the settings into a federation's folder or kit."""
    text = yaml_text(settings.model_dump(mode="json"))
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def shared_software() -> dict[str, str]:
    """Versions that must be the same on every machine."""
    ours = software()
    return {
        "fl-sv": __version__,
        "flwr": ours["flwr"],
        "fl_sv source": ours["fl_sv source"],
        "Flower App": app_hash(),
    }


def require_company(settings: Settings, company: str) -> str:
    """The handle of a company that is called by its name or handle.

    Raises InputError when it does not belong to the federation.
    """
    called = unicodedata.normalize("NFC", company)
    found = [each for each in settings.companies if called in (each, settings.names.get(each))]
    if not found:
        raise InputError(
            f"There is no company {company!r} in this federation; it has"
            f" {', '.join(settings.names.get(each, each) for each in settings.companies)}."
        )
    return found[0]


def read_nodes(folder: Path) -> dict[str, str]:
    """Flower's node id of each registered company. Raises InputError for a damaged file."""
    path = folder / NODES
    try:
        return _Nodes.validate_python(_read(path))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {first_problem(error)}.") from None


def add_node(folder: Path, company: str, node_id: str) -> None:
    """Enters the node id of a company that was registered; the file appears whole."""
    temporary = folder / f".{NODES}.part"
    nodes = {**read_nodes(folder), company: node_id}
    temporary.write_text(yaml_text(nodes), encoding="utf-8")
    temporary.replace(folder / NODES)


def _read(path: Path) -> Any:
    """The content of a YAML file. Raises FileNotFoundError, InputError where it cannot be read."""
    try:
        return parse_yaml(read_text(path), str(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def environment(folder: Path) -> dict[str, str]:
    """The environment variables of every process of the federation.

    They name Flower's folder and the operator's key in this folder, and keep Flower and Ray from
    making requests of their own to the network.
    """
    return {
        **QUIET,
        "FLWR_HOME": str(folder / "flower"),
        "FL_SV_HOME": str(folder / OWNER_HOME),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    }
