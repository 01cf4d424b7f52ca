"""`fl-sv federation check`: checks on the operator's machine, or on a company's."""

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from fl_sv.app import import_app
from fl_sv.errors import FlsvError, listed
from fl_sv.federation import flower
from fl_sv.federation.certificates import certificate_faults, read_company_key
from fl_sv.federation.folder import KIT
from fl_sv.federation.kit import CONFIG, OWNER, kit_config, read_kit
from fl_sv.federation.settings import (
    OWNER_HOME,
    Settings,
    read_nodes,
    read_settings,
    shared_software,
)
from fl_sv.files import require_regular
from fl_sv.flower.contract import contract_of
from fl_sv.runs.keys import key_fingerprint, owner_key, raw, read_public_key

TIMEOUT = 10.0  # seconds
# Seconds by which a signature's time may differ from the SuperLink's (Flower 1.41).
AHEAD, BEHIND = 5.0, 305.0
FLEET, CONTROL = "/v1/fleet/activate-node", "/v1/control/list-nodes"
# What OpenSSL's error codes of a certificate mean, as the end of a sentence.
X509 = {
    10: "has expired",
    9: "is not valid yet: is this machine's clock right?",
    62: "is not for this name",
    64: "is not for this address",
}
MARKS = {True: "ok", False: "WRONG", None: "?"}


@dataclass(frozen=True)
class CheckResult:
    """One thing that was checked.

    ok: None where it could not be checked.
    text: what was found, and what to do about it.
    """

    subject: str
    ok: bool | None
    text: str

    def __str__(self) -> str:
        return f"{MARKS[self.ok]:<6}{self.subject:<13}{self.text}"


def check_operator(folder: Path) -> Iterator[CheckResult]:
    """Checks the operator's machine.

    Software, certificate, signing key, SuperLink, proxy, clock, and the node of every company.
    """
    settings = read_settings(folder)
    yield _software(settings)
    faults = certificate_faults(folder, settings.address)
    yield CheckResult(
        "certificate", not faults, "; ".join(faults) or f"for {settings.address}, signed by ca.crt"
    )
    yield _signing(folder)
    here = _check_server("SuperLink", "127.0.0.1", settings.superlink_port, folder / "ca.crt")
    yield here
    proxy = _check_server("proxy", settings.address, settings.port, folder / "ca.crt")
    yield proxy
    if proxy.ok:
        status, _ = _post(settings.address, settings.port, folder / "ca.crt", CONTROL)
        if status == 403:
            yield CheckResult("control API", True, "the proxy refuses everything but the Fleet API")
        else:
            yield CheckResult(
                "control API",
                False,
                f"the proxy answers {status} to {CONTROL}: ANYBODY WITH ACCESS CAN RUN CODE. Use"
                " nginx.conf as it was written",
            )
    yield _synchronised()
    if here.ok:
        yield from _nodes(folder, settings)


def check_company(folder: Path) -> Iterator[CheckResult]:
    """Checks a company's machine.

    Software, key, what it agreed to, name, port, certificate, clock, and whether the server knows
    its key.
    """
    settings = read_settings(folder)
    yield _software(settings)
    path = folder / "company.key"
    try:
        key = read_company_key(path)
        shared = path.stat().st_mode & 0o077
        yield CheckResult(
            "key", not shared, f"{path} may be read by others: chmod 600" if shared else str(path)
        )
    except FlsvError as error:
        yield CheckResult("key", False, str(error))
        return
    yield _agreement(folder)
    proxy = _check_server("server", settings.address, settings.port, folder / "ca.crt")
    yield proxy
    if not proxy.ok:
        return
    _, date = _post(settings.address, settings.port, folder / "ca.crt", FLEET)
    yield _clock(date, time.time())
    try:
        ask_about_key: Callable[..., str] = import_app("clients.probe").ask_about_key
    except FlsvError as error:
        yield CheckResult("registration", None, str(error))
        return
    answer = ask_about_key(f"{settings.address}:{settings.port}", folder / "ca.crt", key)
    meaning = {
        "registered": "the server knows this key",
        "unknown": (
            "the server does not know this key: send the operator the .pub file, then start the"
            " SuperNode again"
        ),
        "refused": "the server does not accept the signature: look at the clock of both machines",
    }
    yield CheckResult(
        "registration", answer == "registered", meaning.get(answer, f"the server answered {answer}")
    )


def _software(settings: Settings) -> CheckResult:
    ours = shared_software()
    other = [
        f"{name} is {ours.get(name, 'not here')[:12]}, the federation's {theirs[:12]}"
        for name, theirs in settings.software.items()
        if _release(name, ours.get(name, "")) != _release(name, theirs)
    ]
    if other:
        return CheckResult(
            "software", False, f"{'; '.join(other)}: install the same on every machine"
        )
    return CheckResult(
        "software", True, ", ".join(f"{name} {ours[name][:12]}" for name in settings.software)
    )


def _agreement(folder: Path) -> CheckResult:
    """What a company joined with, against what its kit and this machine hold now."""
    try:
        joined = read_kit(folder)
        agrees = joined.contract == contract_of(kit_config(folder))
    except FlsvError as error:
        return CheckResult("agreement", False, str(error))
    if agrees:
        return CheckResult("agreement", True, f"{joined.company} agreed to {folder / CONFIG}")
    return CheckResult(
        "agreement",
        False,
        f"{joined.company} agreed to another {folder / CONFIG}, or with another version of fl_sv:"
        " look at it, `join` again, and restart the SuperNode",
    )


def _signing(folder: Path) -> CheckResult:
    """Whether the kit holds the key by which the operator signs."""
    try:
        kits = raw(read_public_key(folder / KIT / OWNER))
        own = raw(owner_key(folder / OWNER_HOME).public_key())
    except FlsvError as error:
        return CheckResult("signing", False, f"{error} Run `init` again")
    if kits == own:
        return CheckResult("signing", True, f"instructions are signed by {key_fingerprint(own)}")
    return CheckResult(
        "signing",
        False,
        f"the kit holds another key than {folder / OWNER_HOME} signs with: run `init` again, and"
        " send every company the new kit",
    )


def _release(name: str, version: str) -> str:
    """The part of a version that must agree: that of Flower without its last number."""
    return ".".join(version.split(".")[:2]) if name == "flwr" else version


def _check_server(subject: str, address: str, port: int, authority: Path) -> CheckResult:
    """Checks name, port and certificate of a server, up to the first fault."""
    where = f"{address}:{port}"
    try:
        place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return CheckResult(
            subject,
            False,
            f"the name {address} is unknown here: it needs a DNS entry, or a line in /etc/hosts",
        )
    try:
        with (
            socket.create_connection((address, port), TIMEOUT) as plain,
            _tls(authority).wrap_socket(plain, server_hostname=address),
        ):
            return CheckResult(
                subject, True, f"{where} ({place}) answers with a certificate of this federation"
            )
    except ssl.SSLCertVerificationError as error:
        reason = X509.get(
            error.verify_code,
            "is not signed by this federation's ca.crt: another server, or an old kit",
        )
        return CheckResult(subject, False, f"{where}: its certificate {reason}")
    except ssl.SSLError as error:
        return CheckResult(
            subject, False, f"{where} does not speak TLS ({error.reason}): is it the proxy?"
        )
    except ConnectionRefusedError:
        return CheckResult(subject, False, f"{where}: the port is closed; nothing listens there")
    except OSError as error:
        return CheckResult(
            subject, False, f"{where}: no connection ({error}); a firewall, or the machine is down"
        )


def _post(address: str, port: int, authority: Path, path: str) -> tuple[int, str]:
    """Status and date of the answer to an empty request."""
    connection = http.client.HTTPSConnection(
        address, port, timeout=TIMEOUT, context=_tls(authority)
    )
    try:
        connection.request("POST", path, body=b"")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Date", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _tls(authority: Path) -> ssl.SSLContext:
    require_regular(authority)
    return ssl.create_default_context(cafile=str(authority))


def _clock(date: str, now: float) -> CheckResult:
    """This machine's clock against the server's, which dates its answers to the second."""
    if not date:
        return CheckResult("clock", None, "the server gave no date")
    ahead = now - parsedate_to_datetime(date).timestamp()
    difference = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if -BEHIND < ahead < AHEAD:
        return CheckResult("clock", True, difference)
    return CheckResult(
        "clock",
        False,
        f"{difference}; signatures are valid from {AHEAD:.0f} s ahead to {BEHIND:.0f} s behind."
        " Turn NTP on",
    )


def _synchronised() -> CheckResult:
    """Checks whether the clock follows a time server, by the operating system."""
    if shutil.which("timedatectl") is None:
        return CheckResult("clock", None, "no timedatectl here; make sure that NTP is on")
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if answer not in ("yes", "no"):
        return CheckResult("clock", None, "timedatectl gives no answer; make sure that NTP is on")
    return CheckResult(
        "clock",
        answer == "yes",
        "follows a time server" if answer == "yes" else "not synchronised: turn NTP on",
    )


def _nodes(folder: Path, settings: Settings) -> Iterator[CheckResult]:
    """Checks that every company is registered and online, and no other node is registered."""
    try:
        listing = flower.list_nodes(folder)
    except FlsvError as error:
        yield CheckResult("companies", False, str(error))
        return
    known = read_nodes(folder)
    status = {company: listing.get(node, {}).get("status", "") for company, node in known.items()}
    for company in settings.companies:
        name = settings.names.get(company, company)
        if status.get(company) == "online":
            yield CheckResult("company", True, f"{name} is online")
        elif company not in known:
            yield CheckResult(
                "company",
                False,
                f"{name} is not registered: `register {company}.pub --name '{company}'`",
            )
        elif not status[company]:
            yield CheckResult(
                "company",
                False,
                f"{name} was unregistered, or the SuperLink has lost its database",
            )
        else:
            yield CheckResult(
                "company",
                False,
                f"{name} is registered and offline: its SuperNode must be (re)started",
            )
    strangers = sorted(node for node in listing if node not in known.values())
    if strangers:
        yield CheckResult(
            "company",
            False,
            f"nodes that `register` did not enter: {listed(strangers)}. Remove them by `flwr"
            " supernode unregister`",
        )
