"""A real HTTP server for tests: each path answers what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """What a path answers. `pieces`, where given, are sent one by one with a pause before each."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: list[bytes] | None = None
    pause_s: float = 0.0


@dataclass
class Asked:
    """What was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class WebServer:
    """Answers on loopback, on a port of its own; remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[Asked], Reply]] = {}
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply_to(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        reply = self.replies.get(asked.path, Reply(404))
        return reply(asked) if callable(reply) else reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(length)
                reply = server.reply_to(Asked(self.command, self.path, headers, body))
                try:
                    self._send(reply)
                except OSError:
                    return  # the client has had enough, which some tests are about

            do_POST = do_HEAD = do_GET

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                if reply.pieces is None:
                    self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                for piece in [reply.body] if reply.pieces is None else reply.pieces:
                    time.sleep(reply.pause_s)
                    self.wfile.write(piece)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@contextmanager
def a_web_server() -> Iterator[WebServer]:
    server = WebServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
