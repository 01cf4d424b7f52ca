"""A federation of real processes: three companies, TLS, node authentication, the proxy, and the
command line of README.

One deployment serves all tests of this file; see benchmarks/federation/deployment.py.
"""

import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from flwr.app import ConfigRecord, RecordDict

from benchmarks.common.command_line import SMOKE, Answer, shell
from benchmarks.federation.deployment import (
    NGINX,
    OWN,
    PATIENCE,
    Deployment,
    own_files_config,
    unit_command,
)
from clients.probe import ask_about_key
from fl_sv.config import Config
from fl_sv.federation.certificates import make_authority, make_company_key, read_company_key
from fl_sv.flower import wire
from tests.attacker import Attacker

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three companies: each costs a process of its own in every exchange."""
    folder = tmp_path_factory.mktemp("config")
    text = SMOKE.read_text(encoding="utf-8")
    for four, three in ((", Chestnut, ", ", "), ("Chestnut: 2, ", "")):
        assert four in text
        text = text.replace(four, three)
    (folder / "three.yaml").write_text(text, encoding="utf-8")
    return own_files_config(folder, folder / "three.yaml", rounds=1)


@pytest.fixture(scope="module")
def federation(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("federation")
    with pytest.MonkeyPatch.context() as patch, Deployment(folder, config) as deployed:
        # A second, else, for every message. More often, and the looks take a third of a core.
        patch.setenv("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", "0.5")
        deployed.set_up()
        yield deployed


def done(answer: Answer) -> Answer:
    assert answer.code == 0, answer
    return answer


def check(federation: Deployment, folder: Path, at: str = "") -> Answer:
    return federation.fl_sv("federation", "check", "--dir", folder, at=at)


def request(
    federation: Deployment, data: bytes, *, tls: bool = True, patience: float = PATIENCE
) -> bytes:
    """The first bytes of the proxy's answer to raw bytes; none, if it gives none."""
    with ExitStack() as stack:
        connection = stack.enter_context(
            socket.create_connection((federation.address, federation.port), patience)
        )
        try:
            if tls:
                context = ssl.create_default_context(cafile=str(federation.operator / "ca.crt"))
                secure = context.wrap_socket(connection, server_hostname=federation.address)
                connection = stack.enter_context(secure)
            connection.sendall(data)
            return connection.recv(4096)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            return b""


def post(federation: Deployment, path: str, body: bytes = b"", header: str = "") -> int:
    """Status of the proxy's answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{header}\r\n"
    answer = request(federation, head.encode() + body)
    return int(answer.split()[1]) if answer else 0


# --- the flow -------------------------------------------------------------------------------------


def test_everything_is_in_order_as_seen_by_the_operator_and_by_every_company(
    federation: Deployment,
) -> None:
    answer = done(check(federation, federation.operator))
    assert answer.out.count("is online") == len(federation.companies)
    assert "WRONG" not in answer.out
    company = federation.companies[0]
    answer = done(check(federation, federation.kits[company], at=company))
    assert "the server knows this key" in answer.out


def test_federated_run_pays_to_the_cent_what_a_simulation_of_the_same_files_pays(
    federation: Deployment, config: Path, tmp_path: Path
) -> None:
    """A company with a broken file stops the run; once it is corrected, the run continues, and
    another company that attacks it changes nothing.
    """
    culprit = federation.data["Damson"]
    rows = culprit.read_bytes()
    with np.load(culprit) as arrays:
        np.savez(culprit, x=arrays["x"], y=arrays["y"] + 77)
    content = config.read_text() + "faults: {retries: 0}\n"
    (config.parent / "federated.yaml").write_text(content)
    command = ("federation", "run", config.parent / "federated.yaml", "--out", tmp_path / "run")
    failed = federation.fl_sv(*command, "--dir", federation.operator)
    assert failed.code == 1
    sentence = failed.err.splitlines()[-1]
    assert (
        "finished:failed: Damson failed in registration, 1 times: its data, the data path in its"
        " node's config, or a module on its data were refused"
    ) in sentence
    for secret in (str(culprit), culprit.name, "label"):
        assert secret not in sentence
    assert f"{culprit.name}, row 1" in federation.log("Damson")  # its own log has the details

    culprit.write_bytes(rows)
    running = federation.start_fl_sv(*command, "--dir", federation.operator, "--resume")
    marker = tmp_path / "this ran at Beech"
    attack(federation, marker)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, (out, err)
    assert "completed in" in out
    # Nobody ran anything at Beech, nor spoke in its name.
    assert out.count("A reply in the name of Beech was thrown away: it is not signed.") == 2
    assert "an instruction was refused: it is not signed" in federation.log("Beech")
    assert not marker.exists()
    # And Beech ran its own app alone: the operator's was not even unpacked.
    assert not (federation.kits["Beech"] / "flower" / "apps").exists()
    for (
        company,
        path,
    ) in federation.data.items():  # where the config says that they are, for a simulation
        shutil.copy(path, config.parent / f"{company}.npz")
    done(shell("run", config, "--out", tmp_path / "simulated", "--backend", "inline", "--quiet"))
    for name in ("utilities.csv", "averaged.csv", "payouts.csv", "valuation.json"):
        assert (tmp_path / "run" / name).read_bytes() == (
            tmp_path / "simulated" / name
        ).read_bytes()
    done(federation.fl_sv("verify", tmp_path / "run"))
    assert "finished:failed" in federation.status() and "finished:completed" in federation.status()
    assert_nothing_secret_is_written(federation, tmp_path / "run")


def attack(federation: Deployment, marker: Path) -> None:
    """Ash makes Beech's node an instruction that names a function and its argument, in the server's
    name, and answers two of the server's in Beech's. Flower lets it.
    """
    command = {"source": "os:system", "options": {"command": f"touch '{marker}'"}, "classes": 2}
    content = yaml.safe_load((federation.operator / "company" / "config.yaml").read_text())
    content["data"] = {**command, "partition": {"kind": "iid"}}
    evil = Config.model_validate(content)
    task = {
        wire.COMPANY: "Beech",
        wire.ROUND: 0,
        wire.RUN_CONFIG: evil.model_dump_json(),
        wire.SCALING: "{}",
    }
    slander = {wire.REASON: "Beech is bankrupt"}
    ash, answered = Attacker(federation, "Ash", "Beech"), ""
    for _ in range(2):
        instruction = ash.instruction_to_victim(after=answered)
        answered, _, run, _ = instruction
        forged = RecordDict({wire.FAILURE: ConfigRecord(slander)})
        ash.reply_for_victim(forged, instruction)
    ash.instruct_victim(RecordDict({wire.CONFIG: ConfigRecord(task)}), wire.REGISTER, run)
    ash.close()


def assert_nothing_secret_is_written(federation: Deployment, run: Path) -> None:
    """No private key in any log, table, journal or database; no company's path on the operator's
    side.
    """
    keys = [*federation.operator.glob("*.key"), federation.operator / "owner" / "owner.pem"]
    keys += [kit / "company.key" for kit in federation.kits.values()]
    secrets = [key.read_text().splitlines()[1][8:48].encode() for key in keys]
    assert len(secrets) == 3 + len(federation.companies)
    paths = [path.name.encode() for path in federation.data.values()]
    for file in [*federation.logs.rglob("*"), *federation.operator.rglob("*"), *run.rglob("*")]:
        if file.is_file() and file not in keys:
            content = file.read_bytes()
            assert not [secret for secret in secrets if secret in content], file
            if file.stem not in federation.companies:
                assert not [path for path in paths if path in content], file


def test_ctrl_c_stops_the_run_and_not_only_its_log(
    federation: Deployment, config: Path, tmp_path: Path
) -> None:
    running = federation.start_fl_sv(
        "federation", "run", config, "--out", tmp_path / "run", "--dir", federation.operator
    )
    assert running.stdout is not None
    while "Successfully started run" not in (line := running.stdout.readline()):
        assert line, running.communicate()
    run_id = line.split("run ")[1].split()[0]
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=600)
    assert running.returncode == 1
    assert "interrupted" in err and "Traceback" not in err
    listed = [
        line for line in federation.status().splitlines() if line.startswith(f"run {run_id} ")
    ]
    assert len(listed) == 1 and "finished:stopped" in listed[0], (
        run_id,
        listed,
        federation.status(),
    )


# --- who gets in ----------------------------------------------------------------------------------


def test_a_name_that_is_no_company_is_not_registered(federation: Deployment) -> None:
    public = federation.kits["Ash"] / "Ash.pub"
    answer = federation.fl_sv(
        "federation", "register", public, "--name", "Elm", "--dir", federation.operator
    )
    assert (answer.code, answer.out) == (2, "")
    assert "There is no company 'Elm' in this federation; it has Ash, Beech" in answer.err


def test_a_private_key_is_not_registered_by_mistake(federation: Deployment) -> None:
    secret = federation.kits["Ash"] / "company.key"
    answer = federation.fl_sv(
        "federation", "register", secret, "--name", "Ash", "--dir", federation.operator
    )
    assert answer.code == 2
    assert "is a PRIVATE key" in answer.err


def test_a_company_has_one_key(federation: Deployment, tmp_path: Path) -> None:
    second = make_company_key(tmp_path, "Ash")
    answer = federation.fl_sv(
        "federation", "register", second, "--name", "Ash", "--dir", federation.operator
    )
    assert answer.code == 2
    assert "Ash is registered already, as node" in answer.err


def test_an_unregistered_key_is_refused_and_the_check_says_so(
    federation: Deployment, tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    shutil.copytree(federation.operator / "company", kit)
    join = (
        "federation",
        "join",
        *OWN,
        "--dir",
        kit,
        "--company",
        "Ash",
        "--data-path",
        federation.data["Ash"],
    )
    done(federation.fl_sv(*join))
    answer = check(federation, kit, at="Ash")
    assert answer.code == 1
    assert "the server does not know this key" in answer.out
    federation.start_node("Ash", kit, name="impostor")
    process = federation.processes["impostor"]
    federation.wait(lambda: process.poll() is not None, "the SuperNode of an unknown key gives up")
    assert process.returncode != 0
    assert "Failed to activate SuperNode" in federation.log("impostor")


def test_a_node_that_claims_another_companys_key_is_refused(
    federation: Deployment, tmp_path: Path
) -> None:
    """It presents the key that was registered for Ash and signs with a key of its own."""
    make_company_key(tmp_path, "Ash")
    claimed = read_company_key(federation.kits["Ash"] / "company.key").public_key()
    own = read_company_key(tmp_path / "company.key")
    impostor: Any = SimpleNamespace(public_key=lambda: claimed, sign=own.sign)
    address = f"{federation.address}:{federation.port}"
    assert ask_about_key(address, federation.operator / "ca.crt", impostor) == "refused"


def test_a_server_of_another_federation_is_refused(federation: Deployment, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    shutil.copytree(federation.kits["Ash"], kit)
    (kit / "ca.crt").unlink()
    make_authority(kit)
    (kit / "ca.key").unlink()
    answer = check(federation, kit, at="Ash")
    assert answer.code == 1
    assert "is not signed by this federation's ca.crt" in answer.out


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("port: {port}", "port: 9", "the port is closed"),
        (
            "address: {address}",
            "address: no-such-host.invalid",
            "the name no-such-host.invalid is unknown here",
        ),
        ("address: {address}", "address: {other}", "its certificate is not for this address"),
        (
            "flwr: 1",
            "flwr: 2",
            "flwr is 1.41.0, the federation's 2.41.0: install the same on every machine",
        ),
    ],
)
def test_check_says_in_words_what_is_wrong(
    federation: Deployment, tmp_path: Path, was: str, becomes: str, message: str
) -> None:
    facts = {
        "port": federation.port,
        "address": federation.address,
        "other": federation.other_address,
    }
    kit = tmp_path / "kit"
    shutil.copytree(federation.kits["Ash"], kit)
    settings = kit / "federation.yaml"
    text = settings.read_text()
    assert was.format(**facts) in text
    settings.write_text(text.replace(was.format(**facts), becomes.format(**facts)))
    answer = check(federation, kit, at="Ash")
    assert answer.code == 1
    assert message in answer.out


# --- what the proxy lets through ------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-nodes",
        "/v1/runtime/get-nodes",
        "/docs",
        "/openapi.json",
        "/",
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/%2e%2e/control/list-nodes",
        "/v1/fleet/..%2fcontrol/list-nodes",
        "//v1/control/list-nodes",
        "/v1/Fleet/../control/list-nodes",
    ],
)
def test_nothing_but_the_fleet_api_passes_the_proxy(federation: Deployment, path: str) -> None:
    assert post(federation, path) == 403
    assert post(federation, "/v1/fleet/pull-messages") not in (0, 403)


def test_a_company_reaches_the_proxy_alone(federation: Deployment) -> None:
    if not federation.has_namespaces:
        pytest.skip("network namespaces are not permitted here")
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"

    def reaches(address: str, port: int) -> bool:
        arguments = ["python3", "-c", code, address, str(port)]
        return federation.run_at("Ash", arguments).returncode == 0

    assert reaches(federation.address, federation.port)
    assert not reaches(federation.address, federation.superlink_port)
    assert not reaches(federation.other_address, federation.superlink_port)


def test_plaintext_is_refused(federation: Deployment) -> None:
    answer = request(
        federation, b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\n\r\n", tls=False
    )
    assert not answer or b" 400 " in answer.splitlines()[0]


def test_requests_that_are_too_large_or_malformed_are_bounded_and_the_federation_lives_on(
    federation: Deployment,
) -> None:
    assert post(federation, "/v1/fleet/push-object", bytes(9 << 20)) in (0, 413)
    assert 400 <= post(federation, "/v1/fleet/push-object", b"\xff" * 1000) < 500
    assert post(federation, "/v1/fleet/push-object", header=f"X-Long: {'x' * 100_000}\r\n") in (
        0,
        400,
        431,
    )
    for garbage in (b"\x00" * 1000, b"GET /v1/fleet/ HTTP/9.9\r\n\r\n", b"POST " + b"a" * 20_000):
        assert b" 200 " not in request(federation, garbage, patience=2.0)
    assert "WRONG" not in done(check(federation, federation.operator)).out


@needs_nginx
def test_nginx_accepts_its_configuration_without_a_warning(federation: Deployment) -> None:
    assert NGINX is not None
    command = [NGINX, "-t", "-e", "stderr", "-c", str(federation.operator / "nginx.conf")]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tested.returncode == 0
    assert "warn" not in tested.stderr


# --- what is written ------------------------------------------------------------------------------


def test_secrets_are_readable_only_by_their_owner_and_the_kit_holds_none(
    federation: Deployment,
) -> None:
    for path in (
        *federation.operator.glob("*.key"),
        *(kit / "company.key" for kit in federation.kits.values()),
    ):
        assert path.stat().st_mode & 0o077 == 0
    kit = federation.operator / "company"
    assert sorted(path.name for path in kit.iterdir()) == [
        "ca.crt",
        "config.yaml",
        "federation.yaml",
        "owner.pub",
    ]
    assert not any(
        "PRIVATE" in path.read_text() or str(federation.operator) in path.read_text()
        for path in kit.iterdir()
    )


def test_units_hold_the_command_lines_that_these_tests_run(federation: Deployment) -> None:
    command = unit_command(federation.kits["Ash"] / "fl-sv-supernode.service")
    kit, path = federation.kits["Ash"], federation.data["Ash"]
    assert command[-2:] == ["--node-config", f'kit="{kit}" data-path="{path}"']
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd-analyze is not installed")
    units = [
        *federation.operator.glob("systemd/*.service"),
        *federation.kits["Ash"].glob("*.service"),
    ]
    if NGINX is None:  # a unit whose program is not there is refused
        units = [unit for unit in units if "nginx" not in unit.read_text(encoding="utf-8")]
    verified = subprocess.run(
        [systemd, "verify", *units], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr


def test_an_unregistered_company_is_out_at_once_and_may_come_back_with_another_key(
    federation: Deployment,
) -> None:
    nodes = yaml.safe_load((federation.operator / "nodes.yaml").read_text())
    done(federation.flwr("supernode", "unregister", nodes["Damson"], "federation"))
    process, kit = federation.processes["Damson"], federation.kits["Damson"]
    federation.wait(lambda: process.poll() is not None, "the SuperNode of an unregistered key ends")
    answer = check(federation, federation.operator)
    assert answer.code == 1
    assert "Damson was unregistered" in answer.out
    register = (
        "federation",
        "register",
        kit / "Damson.pub",
        "--name",
        "Damson",
        "--dir",
        federation.operator,
    )
    refused = federation.fl_sv(*register)
    assert (refused.code, "Damson.pub was registered before" in refused.err) == (2, True), refused
    (kit / "company.key").unlink()
    join = (
        "federation",
        "join",
        *OWN,
        "--dir",
        kit,
        "--company",
        "Damson",
        "--data-path",
        federation.data["Damson"],
    )
    done(federation.fl_sv(*join))
    done(federation.fl_sv(*register))
    federation.end("Damson")
    federation.start_node("Damson")
    federation.wait(lambda: federation.status().count("online") == 3, "Damson is back")
