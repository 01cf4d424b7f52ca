"""The audit of the dependencies: it fails on a known vulnerability, and never passes without an
answer.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.common.command_line import REPOSITORY

pytest.importorskip("pip_audit", reason="pip-audit is not installed")

EVERYBODY_KNOWS = "jinja2"  # 2.10


class Service(BaseHTTPRequestHandler):
    """A vulnerability service that knows a hole in each of `holes`, and fails for `broken`, in
    osv.dev's protocol.
    """

    holes: frozenset[str] = frozenset()
    broken = ""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package, version = query["package"], query["version"]
        known = package["name"] in self.holes and (
            package["name"] != EVERYBODY_KNOWS or version == "2.10"
        )
        answer = (
            {"vulns": [{"id": "TEST-1", "summary": "a hole", "affected": [{"package": package}]}]}
            if known
            else {}
        )
        self.send_response(500 if package["name"] == self.broken else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("holes", "broken", "code", "message"),
    [
        ({EVERYBODY_KNOWS}, "", 0, "No known vulnerabilities found"),
        ({EVERYBODY_KNOWS, "numpy"}, "", 1, "TEST-1"),
        ({EVERYBODY_KNOWS}, "numpy", 3, "NOT AUDITED: the service could not tell of every package"),
        (set(), "", 3, "NOT AUDITED: no vulnerability service"),
    ],
)
def test_audit_passes_only_if_it_finds_the_known_vulnerability_and_no_other(
    holes: set[str],
    broken: str,
    code: int,
    message: str,
    service: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Service, "holes", frozenset(holes))
    monkeypatch.setattr(Service, "broken", broken)
    settings = {
        "PYTHON": sys.executable,
        "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
        "PIP_AUDIT_OSV_URL": service,
    }
    environment = {**os.environ, **settings, "XDG_CACHE_HOME": str(tmp_path)}
    audit = [REPOSITORY / ".ci" / "audit"]
    done = subprocess.run(audit, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, message in done.stdout + done.stderr) == (code, True), done
