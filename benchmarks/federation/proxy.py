"""The rules of nginx.conf in a few lines of the standard library, only for tests without nginx.

python -m benchmarks.federation.proxy FOLDER PORT SUPERLINK_PORT
"""

import http.client
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGEST_BODY = 8 << 20
HOP_BY_HOP = {"connection", "host", "transfer-encoding", "content-length"}


class Proxy(BaseHTTPRequestHandler):
    """Passes POST requests below /v1/fleet/ on, and nothing else."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    authority = ""
    superlink_port = 0

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
        else:
            self.close_connection = False
            self._pass_on(self.rfile.read(int(length)))

    def _pass_on(self, body: bytes) -> None:
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP
        }
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
