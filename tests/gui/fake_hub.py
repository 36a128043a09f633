"""Hugging Face on this computer: a server that speaks as the hub does, with a few small files.

Downloads run in a process of their own, which no monkeypatch reaches; the address of a server does.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 1 << 16


class FakeHub:
    """What the hub holds and how it answers.

    Attributes
    ----------
    files
        Repository -> name -> content.
    gated
        Repositories that want a token of `tokens`.
    denied
        Repositories whose terms nobody has accepted.
    tokens
        Those that are known.
    gate
        Holds back every file's second half while it is not set.
    asked
        Method and path of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.denied: set[str] = set()
        self.tokens: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.address = ""

    def refusal(self, repository: str, token: str) -> tuple[int, str] | None:
        """Status and the hub's error code for who may not have a repository."""
        if repository not in self.files:
            return 401, "RepoNotFound"
        if repository in self.gated and token not in self.tokens:
            return 401, "GatedRepo"
        return (403, "GatedRepo") if repository in self.denied else None


@contextmanager
def running() -> Iterator[FakeHub]:
    """Run a hub for a while."""
    hub = FakeHub()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.served.asked.append(f"{self.command} {path}")
        try:
            self._route(path.strip("/").split("/"))
        except (BrokenPipeError, ConnectionResetError):  # cancelled
            self.close_connection = True

    def _route(self, parts: list[str]) -> None:
        if parts == ["api", "whoami-v2"]:
            self._whoami()
            return
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        refusal = self.served.refusal(repository, self._token())
        is_file = parts[0] != "api"
        if refusal is not None and (is_file or repository not in self.served.files):
            self._send(refusal[0], b"{}", {"X-Error-Code": refusal[1], "X-Error-Message": "no"})
        elif parts[0] == "api" and "tree" in parts:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _sha(content)[:40]}
                for name, content in self.served.files[repository].items()
            ]
            self._send(200, json.dumps(entries).encode())
        elif parts[0] == "api":
            self._send(200, json.dumps(self._info(repository)).encode())
        else:
            self._file(self.served.files[repository].get(parts[-1]))

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _whoami(self) -> None:
        if self._token() not in self.served.tokens:
            self._send(401, b'{"error": "Invalid credentials"}')
            return
        who = {"name": "ada", "auth": {"accessToken": {"displayName": "lab", "role": "read"}}}
        self._send(200, json.dumps(who).encode())

    def _info(self, repository: str) -> dict[str, object]:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "lfs": {"sha256": _sha(content), "size": len(content), "pointerSize": 128},
            }
            for name, content in self.served.files[repository].items()
        ]
        return {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _file(self, content: bytes | None) -> None:
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        head = {"ETag": f'"{_sha(content)}"', "X-Repo-Commit": COMMIT}
        first = 0
        if self.headers.get("Range"):
            first = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            head["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206 if first else 200, content[first:], head)

    def _send(self, status: int, body: bytes, head: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(head or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2 if len(body) > CHUNK else len(body)
        self.wfile.write(body[:half])
        self.wfile.flush()
        if half < len(body):
            while not self.served.gate.wait(0.05):
                time.sleep(0.01)
        self.wfile.write(body[half:])


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
