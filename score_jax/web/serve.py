"""A server for the page on this computer alone: named files, the headers that threads need."""

import http.server
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from score_jax.errors import ConfigError
from score_jax.web import page

HOST = "127.0.0.1"
PORT = 8642  # the usual one, so that an address can be kept; another if it is taken
Role = Literal["scan", "mask"]
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; img-src 'self' blob: data:; style-src 'self'; "
    "font-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    # memory that threads share exists only in isolated pages
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A file of the user's that the page opens at once.

    Args:
      path: the file; it is read when the page asks for it.
      role: what the page takes it for.
    """

    path: Path
    role: Role


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` and what was named, and nothing else, on 127.0.0.1.

    What was named lies under an address with a random word in it (`url` holds it), so that other
    people on this computer cannot ask for it.

    Args:
      files: the page's, by path.
      named: the user's.
      port: where; 0 takes a free one, None the usual one or a free one.

    Raises:
      ConfigError: the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, files: Mapping[str, bytes], named: Sequence[Named] = (), port: int | None = None
    ) -> None:
        self.files = dict(files)
        self.token = secrets.token_hex(16)
        self.named = {str(number): item for number, item in enumerate(named)}
        super().__init__((HOST, _free(PORT) if port is None else port), _Handler, False)
        try:
            self.server_bind()
            self.server_activate()
        except OSError as error:
            self.server_close()
            raise ConfigError(
                f"--port: got {port}, which cannot be used ({error.strerror}); expected a free one",
                hint="leave it out, or give 0 for any",
            ) from None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_address[1]}/#{self.token}"

    def content(self, path: str) -> tuple[str, bytes] | None:
        """Name and content of what lies at a path of an address, or None."""
        name = unquote(path).removeprefix("/") or "index.html"
        if name in self.files:
            return name, self.files[name]
        start = f"open/{self.token}/"
        if not name.startswith(start):
            return None
        name = name.removeprefix(start)
        if name == "list.json":
            return name, page.as_json(
                [
                    {"name": item.path.name, "path": key, "role": item.role}
                    for key, item in self.named.items()
                ]
            )
        item = self.named.get(name)
        try:
            return None if item is None else (name, item.path.read_bytes())
        except OSError:
            return None


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        # another site can make its own name mean 127.0.0.1: only this one is served
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(421, "error.txt", b"wrong host\n", body=body)
            return
        found = self.server.content(urlsplit(self.path).path)
        if found is None:
            self._send(404, "error.txt", b"no such file\n", body=body)
            return
        self._send(200, *found, body=body)

    def _send(self, status: int, name: str, content: bytes, *, body: bool) -> None:
        self.send_response(status)
        kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
        for key, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: names of files may name patients."""


def _free(port: int) -> int:
    """The port if nobody listens on it, else 0 (any)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return 0
    return port
