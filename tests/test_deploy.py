"""What lies in deploy/: templates that are filled in, manifests that fit their schemas, pages whose
commands exist.
"""

import os
import re
import shlex
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.common.command_line import REPOSITORY, SMOKE
from benchmarks.federation.deployment import (
    NGINX,
    OWN,
    free_port,
    listens,
    unit_command,
)
from benchmarks.federation.proxy import Proxy, Server
from fl_sv.cli import _parser
from fl_sv.config import load_config
from fl_sv.errors import InputError, RunError
from fl_sv.federation import certificates, flower, folder, settings
from fl_sv.federation.certificates import (
    certificate_faults,
    check_public_key,
    make_authority,
    make_company_key,
    make_server_certificate,
)
from fl_sv.federation.check import _agreement, _check_server, _clock, _post, _signing
from fl_sv.federation.flower import FlowerRun
from tests.runs import Command, loaded_by

DEPLOY = REPOSITORY / "deploy"
FLOWERS_OWN = {
    "flower-superlink": ("flwr.superlink.cli.flower_superlink", "_parse_args_run_superlink"),
    "flower-supernode": ("flwr.supernode.cli.flower_supernode", "_parse_args_run_supernode"),
}


@pytest.fixture
def federation(tmp_path: Path) -> Path:
    folder.init(tmp_path / "federation", "fl.example.com", load_config(SMOKE))
    return tmp_path / "federation"


def containers() -> list[tuple[str, list[str]]]:
    """Every command line of a container in deploy/, with the file that holds it."""
    found = []
    for name in ("compose.yaml", "compose.company.yaml"):
        services = yaml.safe_load((DEPLOY / name).read_text())["services"]
        found += [(name, service["command"]) for service in services.values()]
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        pod = document["spec"].get("template", {}).get("spec", {})
        found += [
            ("kubernetes.yaml", c["command"] + c.get("args", [])) for c in pod.get("containers", [])
        ]
    return found


# --- the folder -----------------------------------------------------------------------------------


def test_the_proxys_limits_are_flowers_needs(federation: Path) -> None:
    text = (federation / "nginx.conf").read_text()
    assert float(re.search(r"client_max_body_size (\d+)m", text)[1]) > 5.25  # type: ignore[index]
    assert float(re.search(r"proxy_read_timeout (\d+)s", text)[1]) >= 120  # type: ignore[index]
    # What connections without a key may hold in memory, from one address.
    held = re.search(r"client_body_buffer_size (\d+)k", text)
    connections = re.search(r"limit_conn companies (\d+);", text)
    assert int(held[1]) * int(connections[1]) <= 10_000  # type: ignore[index]
    assert re.findall(r"location (\S+)", text) == ["/v1/fleet/", "@again", "/"]
    assert "127.0.0.1" in " ".join(unit_command(federation / "systemd" / "fl-sv-superlink.service"))


def test_everybody_together_holds_little_of_the_proxys_memory(federation: Path) -> None:
    text = (federation / "nginx.conf").read_text()
    held = re.search(r"client_body_buffer_size (\d+)k", text)
    connections = re.search(r"limit_conn everybody (\d+);", text)
    assert int(held[1]) * int(connections[1]) <= 100_000  # type: ignore[index]
    zones = dict(re.findall(r"limit_conn_zone (\S+) zone=(\w+):", text))
    # nginx counts no request whose key is empty, as $server_name is here.
    assert zones == {"$binary_remote_addr": "companies", "$server_port": "everybody"}


def test_database_of_the_superlink_is_its_owners_alone(federation: Path) -> None:
    assert stat.S_IMODE((federation / "superlink.db").stat().st_mode) == 0o600


def test_init_again_keeps_the_authority_and_the_registrations_and_renews_the_certificate(
    federation: Path,
) -> None:
    settings.add_node(federation, "Ash", "17")
    before = {name: (federation / name).read_bytes() for name in ("ca.crt", "ca.key", "server.pem")}
    folder.init(federation, "other.example.com", load_config(SMOKE), port=8443)
    after = {name: (federation / name).read_bytes() for name in before}
    assert [name for name in before if before[name] != after[name]] == ["server.pem"]
    assert settings.read_nodes(federation) == {"Ash": "17"}
    assert certificate_faults(federation, "other.example.com") == []


def test_certificate_faults_are_named(federation: Path, tmp_path: Path) -> None:
    assert certificate_faults(federation, "fl.example.com") == []
    assert certificate_faults(federation, "10.0.0.1") == ["server.pem is not for 10.0.0.1"]
    later = datetime.now(UTC) + timedelta(days=800)
    assert "server.pem expires on" in certificate_faults(federation, "fl.example.com", later)[0]
    later += timedelta(days=100)
    assert "server.pem expired on" in certificate_faults(federation, "fl.example.com", later)[0]
    make_authority(tmp_path)
    (federation / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    assert certificate_faults(federation, "fl.example.com") == [
        "server.pem was not signed by ca.crt"
    ]


def test_certificate_of_an_address_and_of_a_long_name_can_be_made(tmp_path: Path) -> None:
    make_authority(tmp_path)
    for address in ("10.77.0.1", f"{'a' * 60}.{'b' * 60}.example.com"):
        make_server_certificate(tmp_path, address)
        assert certificate_faults(tmp_path, address) == []


@pytest.mark.parametrize(
    ("seconds", "ok"), [(-304, True), (0, True), (3, True), (7, False), (-310, False)]
)
def test_clock_is_judged_by_flowers_window(seconds: int, ok: bool) -> None:
    assert (
        _clock(
            "Sat, 21 Nov 2026 10:00:00 GMT",
            datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp() + seconds,
        ).ok
        is ok
    )


def test_openssl_and_ssh_keygen_read_what_we_wrote(federation: Path, tmp_path: Path) -> None:
    public = make_company_key(tmp_path, "Ash")
    check_public_key(public)
    for command in (
        ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "server.pem"],
        ["ssh-keygen", "-l", "-f", str(public)],
        ["ssh-keygen", "-y", "-f", str(tmp_path / "company.key")],
    ):
        try:
            done = subprocess.run(
                command, cwd=federation, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == public.read_text().split()[:2]


class Failing(BaseHTTPRequestHandler):
    """A SuperLink whose database is locked."""

    def do_POST(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def server(folder: Path, handler: type[BaseHTTPRequestHandler] = Proxy) -> Iterator[int]:
    """The port of a TLS server with the folder's certificate."""
    with Server(("0.0.0.0", 0), handler) as listener:
        listener.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        listener.context.load_cert_chain(folder / "server.pem", folder / "server.key")
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield listener.server_port
        finally:
            listener.shutdown()
            thread.join()


def test_check_distinguishes_certificates_that_expired_or_have_another_name_or_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_authority(tmp_path)
    make_server_certificate(tmp_path, "localhost")
    authority = tmp_path / "ca.crt"
    with server(tmp_path) as port:
        assert _check_server("server", "localhost", port, authority).ok
        assert (
            "its certificate is not for this address"
            in _check_server("server", "127.0.0.2", port, authority).text
        )
        (tmp_path / "other").mkdir()
        make_authority(tmp_path / "other")
        found = _check_server("server", "localhost", port, tmp_path / "other" / "ca.crt")
        assert "is not signed by this federation's ca.crt" in found.text
    assert "the port is closed" in _check_server("server", "localhost", port, authority).text
    monkeypatch.setattr(certificates, "SKEW", timedelta(days=3))
    monkeypatch.setattr(certificates, "SERVER_DAYS", -1)
    make_server_certificate(tmp_path, "localhost")
    with server(tmp_path) as port:
        assert (
            "its certificate has expired"
            in _check_server("server", "localhost", port, authority).text
        )


HALF = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"


def _answer_to_half(port: int, authority: Path) -> bytes:
    """The first bytes of the answer to a request whose body does not end."""
    context = ssl.create_default_context(cafile=str(authority))
    connection = socket.create_connection(("localhost", port), 600)
    with context.wrap_socket(connection, server_hostname="localhost") as secure:
        secure.sendall(HALF)
        return secure.recv(12)


def test_the_tests_own_proxy_bounds_the_time_of_a_whole_body_and_their_number(
    tmp_path: Path,
) -> None:
    federation = tmp_path / "federation"
    folder.init(federation, "localhost", load_config(SMOKE))

    class Hurrying(Proxy):
        body_seconds = -1.0

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Full(Hurrying):
        under_way = threading.BoundedSemaphore(1)

    with server(federation, Hurrying) as port:
        assert _answer_to_half(port, federation / "ca.crt") == b"HTTP/1.1 408"
    assert Full.under_way.acquire(blocking=False)
    with server(federation, Full) as port:
        assert _answer_to_half(port, federation / "ca.crt") == b"HTTP/1.1 503"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port of nginx, with the configuration that `init` writes, before a SuperLink that fails; and
    its authority.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed")
    federation, port = tmp_path / "federation", free_port()
    config = load_config(SMOKE)
    folder.init(federation, "localhost", config)
    with server(federation, Failing) as superlink_port:
        folder.init(federation, "localhost", config, port, superlink_port)
        command = [NGINX, "-e", "stderr", "-c", str(federation / "nginx.conf"), "-g", "daemon off;"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
            try:
                deadline = time.monotonic() + 600
                while not listens("localhost", port) and time.monotonic() < deadline:
                    time.sleep(0.05)
                yield port, federation / "ca.crt"
            finally:
                nginx.terminate()


def test_nginx_turns_an_error_that_would_stop_a_supernode_into_one_that_it_retries(
    proxy: tuple[int, Path],
) -> None:
    assert _post("localhost", *proxy, "/v1/fleet/pull-messages")[0] == 502
    assert _post("localhost", *proxy, "/v1/control/list-nodes")[0] == 403


def test_requests_under_way_from_one_address_are_bounded(proxy: tuple[int, Path]) -> None:
    port, authority = proxy
    # and no body
    half = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    context = ssl.create_default_context(cafile=str(authority))
    with ExitStack() as stack:
        for _ in range(64):
            connection = socket.create_connection(("localhost", port), 10)
            stack.enter_context(
                context.wrap_socket(connection, server_hostname="localhost")
            ).sendall(half)
        assert _post("localhost", port, authority, "/v1/fleet/pull-messages")[0] == 503
    deadline = (
        time.monotonic() + 600
    )  # nginx may take a new connection before it sees that others closed
    while (answer := _post("localhost", port, authority, "/v1/fleet/pull-messages")[0]) == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer == 502


# --- running --------------------------------------------------------------------------------------

FLWR = """#!PYTHON
import json, pathlib, sys
looks = pathlib.Path(__file__).with_name("looks")
if sys.argv[1] == "run":
    print("Successfully started run 7")  # and then the stream of its log breaks
    sys.exit()
with looks.open("a") as file:
    file.write(".")
status = STATUSES[min(looks.stat().st_size, len(STATUSES)) - 1]
if status == "busy":
    sys.exit("database is locked")
run = {"run-id": "7", "status": status, "status-details": "N/A", "pending-at": "", "elapsed": 1}
print(json.dumps({"success": True, "runs": [{**run, "network-traffic": {"total-bytes": 1}}]}))
"""


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlowerRun]:
    """Runs the app with a program in `flwr`'s place, which lists the run with one status after the
    other.
    """
    program, python = tmp_path / "flwr", sys.executable
    monkeypatch.setattr(
        sys, "executable", str(tmp_path / "python")
    )  # `flwr` is looked for beside it
    monkeypatch.setattr(flower, "POLL_SECONDS", 0.0)

    def run_app(*statuses: str) -> FlowerRun:
        program.write_text(FLWR.replace("PYTHON", python).replace("STATUSES", repr(statuses)))
        program.chmod(0o755)
        return flower.run_app(tmp_path, SMOKE, tmp_path / "out", resume=False)

    return run_app


def test_a_run_is_waited_for_when_the_stream_of_its_log_breaks(
    listed: Callable[..., FlowerRun],
) -> None:
    assert listed("running", "finished:completed").status == "finished:completed"


def test_a_failed_run_is_reported_with_the_command_that_shows_its_log(
    listed: Callable[..., FlowerRun], tmp_path: Path
) -> None:
    log = f"FLWR_HOME={tmp_path}/flower flwr log 7 federation --show"
    with pytest.raises(RunError, match=f"Run 7 is finished:failed: `{re.escape(log)}`"):
        listed("finished:failed")


def test_a_superlink_that_is_busy_is_looked_at_again_for_a_while(
    listed: Callable[..., FlowerRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed("busy", "running", "busy", "finished:completed").status == "finished:completed"
    monkeypatch.setattr(flower, "TIMEOUT_SECONDS", 0.0)
    with pytest.raises(RunError, match="database is locked"):
        listed("busy")


# --- wrong input ----------------------------------------------------------------------------------


def test_what_cannot_be_a_federation_is_refused(
    command: Command, tmp_path: Path, federation: Path
) -> None:
    start = ("federation", "init", tmp_path / "new", "--config", SMOKE, *OWN, "--address")
    assert "--address 'no host'" in command(*start, "no host").err
    no_port = command(*start, "a.example", "--port", 70000).err
    assert "--port: '70000' is no port; give a number from 1 to 65535" in no_port
    assert (
        "without spaces"
        in command(
            "federation", "init", tmp_path / "a b", "--config", SMOKE, *OWN, "--address", "a"
        ).err
    )
    assert (
        "holds no federation"
        in command("federation", "init", tmp_path, "--config", SMOKE, *OWN, "--address", "a").err
    )
    join = ("federation", "join", *OWN, "--data-path", "/data/x.npz", "--dir")
    assert "has Ash, Beech" in command(*join, federation / "company", "--company", "Elm").err
    assert "is the operator's folder" in command(*join, federation, "--company", "Ash").err
    assert "There is no" in command("federation", "status", "--dir", tmp_path).err
    (tmp_path / "rsa.pub").write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHhDyYJk2TyPyaQCRHL2Sdh0Tq5gYkW9vTq9m2dyC1yN x"
    )
    register = ("federation", "register", "--name", "Ash", "--dir", federation)
    for wrong in (
        tmp_path / "rsa.pub",
        federation / "server.key",
        federation / "ca.crt",
        tmp_path / "nowhere.pub",
    ):
        answer = command(*register, wrong)
        assert (answer.code, answer.out) == (2, "")
        assert "Traceback" not in answer.err


def test_config_with_companies_that_the_federation_lacks_is_not_run(
    command: Command, federation: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(SMOKE.read_text().replace("Damson", "Elm"))
    answer = command("federation", "run", other, "--out", tmp_path / "run", "--dir", federation)
    assert answer.code == 2
    assert "There is no company 'Elm'" in answer.err


def test_a_kit_with_a_key_is_of_one_company(federation: Path) -> None:
    folder.join(federation / "company", "Ash", Path("/data/ash.npz"))
    with pytest.raises(InputError, match="is the kit of Ash, with its key"):
        folder.join(federation / "company", "Beech", Path("/data/beech.npz"))


def test_a_company_joins_with_a_file_that_is_there(tmp_path: Path) -> None:
    digits = load_config(SMOKE)
    own = digits.data.model_copy(
        update={
            "source": "own",
            "partition": None,
            "classes": 10,
            "validation": digits.data.validation.model_copy(update={"file": "/srv/validation.npz"}),
        }
    )
    folder.init(tmp_path / "federation", "fl.example.com", digits.model_copy(update={"data": own}))
    kit = tmp_path / "federation" / "company"
    with pytest.raises(InputError, match=r"nothing\.npz does not exist"):
        folder.join(kit, "Ash", tmp_path / "nothing.npz")
    assert not (kit / "company.key").exists()


def test_a_company_whose_key_would_take_the_place_of_the_operators_is_refused(
    tmp_path: Path,
) -> None:
    config = load_config(SMOKE)
    for name in ("owner", "Owner"):
        called = config.model_copy(update={"companies": (name, *config.companies[1:])})
        with pytest.raises(InputError, match=f"cannot be called '{name}'"):
            folder.init(tmp_path / "federation", "fl.example.com", called)


def test_join_pins_the_config_of_the_kit_and_the_check_sees_another_one(
    command: Command, federation: Path
) -> None:
    kit = federation / "company"
    join = ("federation", "join", *OWN, "--dir", kit, "--company", "Ash")
    join = (*join, "--data-path", "/data/ash.npz")
    answer = command(*join)
    key = folder.operators_key(federation)
    assert f"follows instructions signed by the key {key}:" in answer.out
    assert f"Ash agrees to {kit}/config.yaml, and to no other config." in answer.out
    assert "Runs there besides fl-sv: nothing; the config names no function" in answer.out
    assert _agreement(kit).ok
    config = kit / "config.yaml"
    config.write_text(config.read_text().replace("seed: 7", "seed: 8"))
    assert "look at it, `join` again, and restart the SuperNode" in _agreement(kit).text
    assert not _agreement(kit).ok
    command(*join)
    assert _agreement(kit).ok


def test_modules_in_a_kit_are_not_run_before_the_company_has_seen_their_names(
    command: Command, federation: Path, tmp_path: Path
) -> None:
    kit, marker = federation / "company", tmp_path / "this ran"
    (kit / "surprise.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    config = kit / "config.yaml"
    config.write_text(re.sub(r"source: \S+", "source: surprise:rows", config.read_text()))
    answer = command("data", "check", config, "--company", "Ash", "--data-path", "/data/ash.npz")
    assert answer.code == 2 and "surprise:rows cannot be imported" in answer.err
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["fl-sv-supernode.service", ".joined.yaml.part", "bin", "state/answered.sqlite"]
)
def test_kit_with_a_link_is_refused_before_anything_is_written(name: str, federation: Path) -> None:
    kit, elsewhere = federation / "company", federation.parent / "my own file"
    elsewhere.write_text("mine")
    (kit / name).parent.mkdir(exist_ok=True)
    (kit / name).symlink_to(elsewhere)
    before = {*kit.rglob("*")}
    with pytest.raises(InputError, match="is a link: what is written there would be written else"):
        folder.join(kit, "Ash", Path("/data/ash.npz"))
    assert elsewhere.read_text() == "mine" and {*kit.rglob("*")} == before


def test_node_runs_the_app_of_its_own_fl_sv_whatever_app_was_submitted(
    federation: Path, tmp_path: Path
) -> None:
    """Flower's own program lets an app name the folder in which it is installed."""
    kit, home = federation / "company", tmp_path / "home"
    folder.join(kit, "Ash", Path("/data/ash.npz"))
    code = """
import hashlib
import sys
from pathlib import Path
from flwr.cli.build import build_fab_from_disk
from flwr.supernode.runtime import run_clientapp
if sys.argv[2] == "ours":
    from fl_sv.app import import_app
    import_app("clients.node").run_own_app()
submitted = build_fab_from_disk(Path(sys.argv[1]))
run_clientapp.install_from_fab(submitted, skip_prompt=True)
load = run_clientapp.get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True)
load("fl-sv/fl-sv", "0.1.0/../../../evil", hashlib.sha256(submitted).hexdigest())
"""
    (home / "apps" / "fl-sv.fl-sv.0.1.0").mkdir(parents=True)
    printed = {}
    with flower._bundle() as app:
        project, client = app / "pyproject.toml", app / "clients" / "app.py"
        project.write_text(
            project.read_text().replace('version = "0.1.0"', 'version = "0.1.0/../../../evil"')
        )
        client.write_text(client.read_text() + "print('it runs')\n")
        for whose in ("Flower's", "ours"):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", code, app, whose],
                env={**os.environ, "FLWR_HOME": str(home)},
                capture_output=True,
                text=True,
                check=True,
            )
            printed[whose] = "it runs" in done.stdout
            shutil.rmtree(next(tmp_path.glob("evil*"), tmp_path / "nothing"), ignore_errors=True)
    assert printed == {"Flower's": True, "ours": False}
    assert not [*tmp_path.glob("evil*")]


def test_node_can_start_two_programs_and_no_others(federation: Path) -> None:
    kit = federation / "company"
    folder.join(kit, "Ash", Path("/data/ash.npz"))
    unit = (kit / "fl-sv-supernode.service").read_text()
    (path,) = re.findall(r'^Environment="PATH=(.*)"$', unit, re.MULTILINE)
    assert path == str(kit.absolute() / "bin")
    programs = {program.name for program in Path(path).iterdir()}
    assert {name for name in programs if shutil.which(name, path=path)} == {
        "flower-superexec",
        "flwr-clientapp",
    }
    for name in programs:
        done = subprocess.run(
            [name, "--help"], env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0 and f"usage: {name}" in done.stdout
    (kit / "bin" / "flwr-agentapp").write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match="bin holds flwr-agentapp; remove the folder"):
        folder.join(kit, "Ash", Path("/data/ash.npz"))


def test_check_sees_a_kit_with_another_key_than_the_operators(federation: Path) -> None:
    assert _signing(federation).ok
    for file in (federation / "owner").iterdir():
        file.unlink()
    assert "run `init` again, and send every company the new kit" in _signing(federation).text
    folder.init(federation, "fl.example.com", load_config(SMOKE))
    assert _signing(federation).ok


def test_init_again_keeps_the_ports(tmp_path: Path) -> None:
    config, place = load_config(SMOKE), tmp_path / "federation"
    folder.init(place, "fl.example.com", config, port=8443, superlink_port=8100)
    again = folder.init(place, "fl.example.com", config)
    assert (again.port, again.superlink_port) == (8443, 8100)


def test_key_is_made_once(federation: Path) -> None:
    kit = federation / "company"
    first = folder.join(kit, "Ash", Path("/data/ash.npz")).read_bytes()
    assert folder.join(kit, "Ash", Path("/data/other.npz")).read_bytes() == first
    unit = (kit / "fl-sv-supernode.service").read_text().replace("\\\n", " ")
    assert "/data/other.npz" in unit
    paths = " ".join(re.findall(r"^ReadOnlyPaths=(.*)$", unit, re.MULTILINE))
    for name in (
        *("company.key", "ca.crt", "config.yaml", "federation.yaml"),
        *("owner.pub", "joined.yaml", "bin"),
    ):
        assert f'"{kit.absolute() / name}"' in paths
    with pytest.raises(InputError, match="without spaces"):
        folder.join(kit, "Ash", Path("/data/my file.npz"))


# --- manifests and pages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "line"), containers(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_containers_start_programs_with_options_that_this_flower_has(
    where: str, line: list[str], monkeypatch: pytest.MonkeyPatch, federation: Path
) -> None:
    if line[0] == "nginx":
        return
    program = Path(line[0]).name
    module, parser = FLOWERS_OWN[program]
    imported: Any = __import__(module, fromlist=[parser])
    given = vars(getattr(imported, parser)().parse_args(line[1:]))
    assert given.get("enable_supernode_auth", True)
    assert given["host"] == "127.0.0.1"
    if program == "flower-superlink":  # the same command line as in the unit
        unit = unit_command(federation / "systemd" / "fl-sv-superlink.service")
        options = {word.split("=")[0] for word in line[1:]}
        assert options == {word for word in unit[1:] if word.startswith("--")}


def test_ray_accepts_its_cluster_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(
        util.prepare_config(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()))
    )


@pytest.mark.parametrize("page", ["operator.md", "company.md"])
def test_commands_of_the_pages_exist(page: str) -> None:
    lines = [
        line.strip()
        for line in (DEPLOY / page).read_text().splitlines()
        if line.startswith("    fl-sv ")
    ]
    assert len(lines) >= 3
    for line in lines:
        _parser().parse_args(shlex.split(line)[1:])


def test_pages_are_one_page_each() -> None:
    for page in DEPLOY.glob("*.md"):
        assert len(page.read_text().splitlines()) <= 65


def test_federation_commands_load_neither_torch_nor_flower_until_they_need_them() -> None:
    assert not loaded_by("from fl_sv.cli import _parser; _parser()", "torch", "flwr")
