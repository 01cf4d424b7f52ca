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
  start-superlink.sh  start-proxy.sh   the same without systemd
  owner/                  secret: the operator's signing key, of instructions and of the ledger
  company/                the kit: what every company gets; no secret in it. See kit.py
    federation.yaml  ca.crt  config.yaml  owner.pub
    fl-sv-supernode.service  start-supernode.sh   once the company has joined
"""

import os
import pwd
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
from fl_sv.federation.kit import CONFIG, OWNER, pin
from fl_sv.federation.node import PROGRAMS, write_programs
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
SUPERLINK_SCRIPT, PROXY_SCRIPT = "start-superlink.sh", "start-proxy.sh"
NODE_UNIT, NODE_SCRIPT = "fl-sv-supernode.service", "start-supernode.sh"
PLAIN_PATH = re.compile(r"[^\s\"'%\\$]+")


def init(
    folder: Path,
    address: str,
    config: Config,
    port: int | None = None,
    superlink_port: int | None = None,
    user: str | None = None,
) -> Settings:
    """Writes the operator's folder.

    user: the owner of the processes; this process's own where it is None.

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
    facts = {**content, **_machine(folder, user)}
    _write_template("nginx.conf", folder, facts)
    _write_template("config.toml", folder / "flower", facts)
    for unit, script in (
        ("fl-sv-superlink.service", SUPERLINK_SCRIPT),
        ("fl-sv-proxy.service", PROXY_SCRIPT),
    ):
        _write_template(unit, folder / "systemd", facts)
        _write_script(folder / "systemd" / unit, folder / script)
    write_settings(folder, settings)
    write_settings(folder / KIT, settings)
    (folder / KIT / "ca.crt").write_bytes(read_bytes(folder / "ca.crt"))
    (folder / KIT / CONFIG).write_text(dump_config(for_companies(config)), encoding="utf-8")
    owner_key(folder / OWNER_HOME)
    (folder / KIT / OWNER).write_bytes(read_bytes(folder / OWNER_HOME / OWNER))
    _give_to(folder, user)
    return settings


def join(
    folder: Path,
    company: str,
    data_path: Path,
    port: int | None = None,
    user: str | None = None,
) -> Path:
    """Makes a company's key and the unit of its SuperNode, in the kit that the company got.

    It pins what the company agrees to: the kit's config, the installed fl_sv, the operator's key.
    It writes the programs of its SuperNode, which runs the app of the installed fl_sv alone.

    port: the SuperNode's own, on loopback; Flower's where it is None. user: as in `init`.

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
    if links := [path for path in folder.rglob("*") if path.is_symlink() and path != data_path]:
        raise InputError(
            f"{links[0]} is a link: what is written there would be written elsewhere. A kit holds"
            " files alone; remove it."
        )
    # The rows are checked first, so that no company registers without usable data.
    inspect_company(folder / CONFIG, company, str(data_path))
    public = make_company_key(folder, company)
    pin(folder, company)
    write_programs(folder / PROGRAMS)
    facts = {
        "address": settings.address,
        "port": settings.port,
        "company": company,
        "data_path": data_path,
        "node_port": port,
    }
    machine = _machine(folder, user)
    machine["environment"] = machine["environment"] | {"PATH": folder / PROGRAMS}
    _write_template(NODE_UNIT, folder, {**facts, **machine})
    _write_script(folder / NODE_UNIT, folder / NODE_SCRIPT)
    _give_to(folder, user)
    return public


def require_user(user: str | None) -> None:
    """Raises InputError when the processes would be root's, or there is no such user."""
    if user is None and os.geteuid() == 0:
        raise InputError(
            "You are root, and the processes of this folder would be, too: whoever finds a hole in"
            " one has the machine. Run this as the user that will own them, or name it by --user."
        )
    if user is not None:
        try:
            owner = pwd.getpwnam(user)
        except KeyError:
            raise InputError(f"--user {user!r}: this machine has no such user.") from None
        if os.geteuid() not in (0, owner.pw_uid):
            raise InputError(f"--user {user!r}: only root can give files to another user.")


def operators_key(folder: Path) -> str:
    """The fingerprint of the key by which instructions are signed, to be read aloud."""
    return key_fingerprint(raw(owner_key(folder / OWNER_HOME).public_key()))


def _write_template(name: str, folder: Path, facts: dict[str, Any]) -> None:
    loader = jinja2.FileSystemLoader(app_folder() / "deploy")
    templates = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    (folder / name).write_text(templates.get_template(f"{name}.j2").render(facts), encoding="utf-8")


def _write_script(unit: Path, path: Path) -> None:
    """Writes what a systemd unit starts as a shell script, which passes on its arguments.

    Both read quotes alike, and no path has any (`_plain`).
    """
    lines = ["#!/bin/sh", f"# The process of {unit.name}, for a machine without systemd."]
    for line in unit.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        key, _, value = line.partition("=")
        match key:
            case "Environment":
                lines.append(f"export {value}")
            case "UMask":
                lines.append(f"umask {value}")
            case "WorkingDirectory":
                lines.append(f'cd "{value}" || exit 1')
            case "ExecStart":
                command = f'exec {" ".join(value.split())} "$@"'
    path.write_text("\n".join([*lines, command, ""]), encoding="utf-8")
    path.chmod(0o700)


def _give_to(folder: Path, user: str | None) -> None:
    """Makes the user the owner of all in the folder, where root wrote it."""
    if user is None or os.geteuid() != 0:
        return
    owner = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _machine(folder: Path, user: str | None) -> dict[str, Any]:
    return {
        "folder": folder,
        "user": user or _own_name(),
        "bin": Path(sys.executable).parent,
        "environment": environment(folder),
    }


def _own_name() -> str:
    """The name of this process's user; the number where it has none, as in a container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


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
