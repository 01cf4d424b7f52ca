"""The rules of nginx.conf in a few lines of the standard library, only for tests without nginx.

python -m benchmarks.federation.proxy FOLDER PORT SUPERLINK_PORT
"""

import http.client
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import BoundedSemaphore

LARGEST_BODY = 8 << 20
IN_MEMORY = 128 << 10  # of a body that is under way; the rest is in a file
AT_ONCE = 512  # requests under way
HOP_BY_HOP = {"connection", "host", "transfer-encoding", "content-length"}

Body = SpooledTemporaryFile[bytes]


class Proxy(BaseHTTPRequestHandler):
    """Passes POST requests below /v1/fleet/ on, and nothing else."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    authority = ""
    superlink_port = 0
    body_seconds = 300.0  # for a whole body, however slowly it comes
    under_way = BoundedSemaphore(AT_ONCE)

    def do_GET(self) -> None:
        self.send_error(403)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        self.close_connection = True
        if not self.path.startswith("/v1/fleet/") or "%" in self.path or ".." in self.path:
            self.send_error(403)
        elif not length.isdigit():
            self.send_error(411)
        elif int(length) > LARGEST_BODY:
            self.send_error(413)
        elif not self.under_way.acquire(blocking=False):
            self.send_error(503)
        else:
            try:
                with SpooledTemporaryFile(max_size=IN_MEMORY) as body:
                    self._receive(int(length), body)
            finally:
                self.under_way.release()

    def _receive(self, length: int, body: Body) -> None:
        """Takes the body in pieces as they come, and passes the whole on."""
        deadline, missing = time.monotonic() + self.body_seconds, length
        while missing:
            if time.monotonic() > deadline:
                self.send_error(408)
                return
            piece = self.rfile.read1(min(missing, IN_MEMORY))  # type: ignore[attr-defined]
            if not piece:
                return
            body.write(piece)
            missing -= len(piece)
        body.seek(0)
        self.close_connection = False
        self._pass_on(body, length)

    def _pass_on(self, body: Body, length: int) -> None:
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP
        }
        headers["Content-Length"] = str(length)
        context = ssl.create_default_context(cafile=self.authority)
        upstream = http.client.HTTPSConnection(
            "localhost", self.superlink_port, timeout=180, context=context
        )
        try:
            upstream.request("POST", self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.send_error(502)
            return
        finally:
            upstream.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """Shakes hands in the thread of the connection, so that a silent client does not block the
    others.
    """

    context: ssl.SSLContext

    def finish_request(self, request: object, client_address: object) -> None:
        request.settimeout(60)  # type: ignore[attr-defined]
        with self.context.wrap_socket(request, server_side=True) as secure:  # type: ignore[arg-type]
            super().finish_request(secure, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that speaks no TLS is none of the log's business."""


def main() -> None:
    folder, port, Proxy.superlink_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    Proxy.authority = str(folder / "ca.crt")
    server = Server(("0.0.0.0", port), Proxy)
    server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.serve_forever()


if __name__ == "__main__":
    main()
