"""What `fl-sv federation init` and `join` write, from the templates in deploy/, and what the other
commands read.

DIR/                    the operator's, on the server
  federation.yaml         address, ports, companies, software
  ca.key  server.key      secret
  ca.crt  server.pem      authority and server certificate
  nginx.conf  proxy/      the TLS proxy, and its pid and log
  flower/config.toml      Flower's connection (FLWR_HOME)
  nodes.yaml              node id of each registered company
  systemd/                units of the SuperLink and the proxy
  company/                the kit: what every company gets; no secret in it
    federation.yaml  ca.crt  config.yaml
"""

import getpass
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import jinja2
import yaml
from pydantic import Field, StringConstraints, ValidationError

from fl_sv import __version__
from fl_sv.app import QUIET, app_folder
from fl_sv.config import Config, dump_config, for_companies
from fl_sv.config.base import CompanyName, Frozen
from fl_sv.errors import InputError
from fl_sv.federation.certificates import make_authority, make_company_key, make_server_certificate
from fl_sv.machine import software
from fl_sv.planning.inspection import inspect_company

SETTINGS = "federation.yaml"
NODES = "nodes.yaml"
KIT = "company"
PORT, SUPERLINK_PORT = 443, 8000
HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
PLAIN_PATH = re.compile(r"[^\s\"'%\\$]+")


class Settings(Frozen):
    """What operator and companies have to know of the federation. Nothing in it is secret."""

    address: Annotated[str, StringConstraints(pattern=HOST, max_length=253)] = Field(
        description="of the proxy"
    )
    port: int = Field(PORT, ge=1, le=65_535, description="of the proxy")
    superlink_port: int = Field(
        SUPERLINK_PORT, ge=1, le=65_535, description="of the SuperLink, on the server's loopback"
    )
    companies: Annotated[tuple[CompanyName, ...], Field(strict=False, min_length=2)]
    software: dict[str, str]


def init(
    folder: Path,
    address: str,
    config: Config,
    port: int | None = None,
    superlink_port: int | None = None,
) -> Settings:
    """Writes the operator's folder. In a folder of an earlier `init` it keeps the authority and the
    registrations, and the ports that are not given.

    Raises InputError when the address or the path cannot be used.
    """
    folder = _plain(folder)
    before = read_settings(folder) if (folder / SETTINGS).exists() else None
    content = {
        "address": address,
        "port": port or (before.port if before else PORT),
        "superlink_port": superlink_port or (before.superlink_port if before else SUPERLINK_PORT),
    }
    try:
        settings = Settings.model_validate(
            {**content, "companies": config.companies, "software": shared_software()}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputError(
            f"--{problem['loc'][0]} {problem['input']!r}: {problem['msg']}. Give a host name alone;"
            " the port is --port."
        ) from None
    if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
        raise InputError(f"{folder} is not empty and holds no federation. Give a new folder.")
    for name in (".", "proxy", "flower", "systemd", KIT):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    make_authority(folder)
    make_server_certificate(folder, address)
    facts = {**content, **_machine(folder)}
    write_template("nginx.conf", folder, facts)
    write_template("config.toml", folder / "flower", facts)
    for unit in ("fl-sv-superlink.service", "fl-sv-proxy.service"):
        write_template(unit, folder / "systemd", facts)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    for place in (folder, folder / KIT):
        (place / SETTINGS).write_text(text, encoding="utf-8")
    (folder / KIT / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
    (folder / KIT / "config.yaml").write_text(dump_config(for_companies(config)), encoding="utf-8")
    return settings


def join(folder: Path, company: str, data_path: Path) -> Path:
    """Makes a company's key and its SuperNode's unit in the kit that it got. Returns the public
    key's file.
    """
    folder, data_path = _plain(folder), _plain(data_path)
    settings = read_settings(folder)
    require_company(settings, company)
    if (folder / "server.key").exists():
        raise InputError(
            f"{folder} is the operator's folder. A company joins with the kit in {folder / KIT}."
        )
    inspect_company(
        folder / "config.yaml", company, str(data_path)
    )  # before a key promises that there are rows
    public = make_company_key(folder, company)
    facts = {
        "address": settings.address,
        "port": settings.port,
        "company": company,
        "data_path": data_path,
    }
    write_template("fl-sv-supernode.service", folder, {**facts, **_machine(folder)})
    return public


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


def shared_software() -> dict[str, str]:
    """What has to be the same on every machine."""
    ours = software()
    return {"fl-sv": __version__, "flwr": ours["flwr"], "fl_sv source": ours["fl_sv source"]}


def require_company(settings: Settings, company: str) -> None:
    """Raises InputError when the federation has no such company."""
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
    text = yaml.safe_dump(
        {**read_nodes(folder), company: node_id}, sort_keys=False, allow_unicode=True
    )
    temporary = folder / f".{NODES}.part"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / NODES)


def environment(folder: Path) -> dict[str, str]:
    """Of every process of the federation: Flower's folder and the owner's key in it, and no
    question to the network.
    """
    return {
        **QUIET,
        "FLWR_HOME": str(folder / "flower"),
        "FL_SV_HOME": str(folder / "owner"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    }


def write_template(name: str, folder: Path, facts: dict[str, Any]) -> None:
    loader = jinja2.FileSystemLoader(app_folder() / "deploy")
    templates = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    (folder / name).write_text(templates.get_template(f"{name}.j2").render(facts), encoding="utf-8")


def _machine(folder: Path) -> dict[str, Any]:
    return {
        "folder": folder,
        "user": getpass.getuser(),
        "bin": Path(sys.executable).parent,
        "environment": environment(folder),
    }


def _plain(path: Path) -> Path:
    """The absolute path. Raises InputError when it cannot stand in a unit and in nginx's config as
    it is.
    """
    path = path.absolute()
    if not PLAIN_PATH.fullmatch(str(path)):
        raise InputError(
            f"{path}: take a path without spaces, quotes, %, $ and backslashes; systemd and nginx"
            " read it."
        )
    return path
