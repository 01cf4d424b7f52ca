"""What `fl-sv federation init` and `join` write, from the templates in deploy/.

DIR/                    the operator's, on the server
  federation.yaml         address, ports, companies, software
  ca.key  server.key      secret
  ca.crt  server.pem      authority and server certificate
  nginx.conf  proxy/      the TLS proxy, and its pid and log
  flower/config.toml      Flower's connection (FLWR_HOME)
  nodes.yaml              node id of each registered company
  superlink.db            the SuperLink's database, for its owner alone
  systemd/                units of the SuperLink and the proxy
  owner/                  secret: the operator's signing key, of instructions and of the ledger
  company/                the kit: what every company gets; no secret in it. See kit.py
    federation.yaml  ca.crt  config.yaml  owner.pub
"""

import getpass
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
from pydantic import ValidationError

from fl_sv.app import app_folder
from fl_sv.config import Config, dump_config, for_companies
from fl_sv.errors import InputError
from fl_sv.federation.certificates import make_authority, make_company_key, make_server_certificate
from fl_sv.federation.flower import install_app
from fl_sv.federation.kit import CONFIG, OWNER, pin
from fl_sv.federation.settings import (
    OWNER_HOME,
    PORT,
    SETTINGS,
    SUPERLINK_PORT,
    Settings,
    environment,
    read_settings,
    require_company,
    shared_software,
    write_settings,
)
from fl_sv.files import read_bytes
from fl_sv.planning.inspection import inspect_company
from fl_sv.runs.keys import key_fingerprint, owner_key, raw

KIT = "company"
DATABASE = "superlink.db"
PLAIN_PATH = re.compile(r"[^\s\"'%\\$]+")


def init(
    folder: Path,
    address: str,
    config: Config,
    port: int | None = None,
    superlink_port: int | None = None,
) -> Settings:
    """Writes the operator's folder.

    In a folder of an earlier `init` it keeps the authority, the registrations, and the ports that
    are not given. Raises InputError when the address or the path cannot be used.
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
            {**content, "companies": config.companies, "names": config.names}
            | {"software": shared_software()}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputError(
            f"--{problem['loc'][0]} {problem['input']!r}: {problem['msg']}. Give the host name"
            " alone, and the port by --port."
        ) from None
    if name := next((c for c in config.companies if f"{c}.pub".casefold() == OWNER), None):
        raise InputError(
            f"A company of a federation cannot be called {name!r}: {OWNER} in its kit is the"
            " operator's key. Give it another name in the config."
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
        raise InputError(f"{folder} is not empty and holds no federation. Give a new folder.")
    for name in (".", "proxy", "flower", "systemd", KIT):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    # The SuperLink's database holds models in transit; SQLite keeps the mode that it finds.
    (folder / DATABASE).touch(mode=0o600)
    (folder / DATABASE).chmod(0o600)
    make_authority(folder)
    make_server_certificate(folder, address)
    facts = {**content, **_machine(folder)}
    _write_template("nginx.conf", folder, facts)
    _write_template("config.toml", folder / "flower", facts)
    for unit in ("fl-sv-superlink.service", "fl-sv-proxy.service"):
        _write_template(unit, folder / "systemd", facts)
    write_settings(folder, settings)
    write_settings(folder / KIT, settings)
    (folder / KIT / "ca.crt").write_bytes(read_bytes(folder / "ca.crt"))
    (folder / KIT / CONFIG).write_text(dump_config(for_companies(config)), encoding="utf-8")
    owner_key(folder / OWNER_HOME)
    (folder / KIT / OWNER).write_bytes(read_bytes(folder / OWNER_HOME / OWNER))
    return settings


def join(folder: Path, company: str, data_path: Path) -> Path:
    """Makes a company's key and the unit of its SuperNode, in the kit that the company got.

    It pins what the company agrees to: the kit's config, the installed fl_sv, the operator's key.
    It installs the app that its SuperNode runs: the one of the installed fl_sv.

    Returns the file of the public key. Raises InputError when the folder is not a kit, or when the
    company's rows do not fit the run.
    """
    folder, data_path = _plain(folder), _plain(data_path)
    settings = read_settings(folder)
    company = require_company(settings, company)
    if (folder / "server.key").exists():
        raise InputError(
            f"{folder} is the operator's folder. A company joins with the kit in {folder / KIT}."
        )
    # The rows are checked first, so that no company registers without usable data.
    inspect_company(folder / CONFIG, company, str(data_path))
    public = make_company_key(folder, company)
    pin(folder, company)
    install_app(folder)
    facts = {
        "address": settings.address,
        "port": settings.port,
        "company": company,
        "data_path": data_path,
    }
    _write_template("fl-sv-supernode.service", folder, {**facts, **_machine(folder)})
    return public


def operators_key(folder: Path) -> str:
    """The fingerprint of the key by which instructions are signed, to be read aloud."""
    return key_fingerprint(raw(owner_key(folder / OWNER_HOME).public_key()))


def _write_template(name: str, folder: Path, facts: dict[str, Any]) -> None:
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
    """The absolute path.

    Raises InputError when it cannot stand unquoted in a systemd unit and in nginx's configuration.
    """
    path = path.absolute()
    if not PLAIN_PATH.fullmatch(str(path)):
        raise InputError(
            f"{path} cannot be used: systemd and nginx read this path. Give one without spaces,"
            " quotes, %, $ and backslashes."
        )
    return path
