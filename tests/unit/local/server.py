"""A process for lifecycle tests: `server.py PORT [FLAG …]` answers `GET /healthz` with its pid.

Flags: `deaf` ignores SIGTERM, `unready` answers 503, `crash` exits at once.
"""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if "unready" in sys.argv else 200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        sys.stdout.write(f"asked, answered {code} {size}\n")


if __name__ == "__main__":
    sys.stdout.write("hello\n")
    sys.stdout.flush()
    if "crash" in sys.argv:
        sys.exit("cannot go on: the reason")
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
