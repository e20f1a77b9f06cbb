"""A hub on 127.0.0.1 with one repository of made-up files: enough of its API for huggingface_hub to download from it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `files` (name -> bytes) of `repository`. Large files have a SHA-256, as those in large-file storage do."""

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        self.repository, self.files = repository, files
        self.hold_at_bytes: int | None = None  #: sends no more than this in all until it is raised or None
        self.token: str | None = None  #: demanded of every request, if set
        self.commit = COMMIT  #: the newest revision; others are not served
        self.served_bytes = 0
        self.ranges: list[int] = []  #: where requests that went on began
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, with_body=False)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(request, 401, b'{"error": "Invalid credentials"}', {"X-Error-Message": "Invalid credentials"}, with_body)
            return
        file = path.removeprefix(f"/{self.repository}/resolve/{self.commit}/")
        if path.startswith(f"/api/models/{self.repository}"):
            self._send(request, 200, json.dumps(self._info()).encode(), {"Content-Type": "application/json"}, with_body)
        elif file in self.files:
            self._send_file(request, self.files[file], with_body)
        else:
            self._send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"}, with_body)

    def _info(self) -> dict:
        siblings = []
        for name, content in self.files.items():
            entry = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            if self._is_large(content):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"_id": "1", "id": self.repository, "modelId": self.repository, "sha": self.commit, "private": False, "disabled": False,
                "gated": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings}

    @staticmethod
    def _is_large(content: bytes) -> bool:
        return len(content) > 1000

    def _send_file(self, request: BaseHTTPRequestHandler, content: bytes, with_body: bool) -> None:
        digest = hashlib.sha256(content) if self._is_large(content) else hashlib.sha1(content)
        headers = {"X-Repo-Commit": self.commit, "ETag": f'"{digest.hexdigest()}"', "Accept-Ranges": "bytes",
                   "Content-Type": "application/octet-stream"}
        wanted = request.headers.get("Range")
        if wanted:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            if first > 0:
                self.ranges.append(first)
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._send(request, 206, content[first:], headers, with_body)
        else:
            self._send(request, 200, content, headers, with_body)

    def _send(self, request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if not with_body:
            return
        block = 1 << 16
        try:
            for start in range(0, len(body), block):
                while len(body) > block and self.hold_at_bytes is not None and self.served_bytes >= self.hold_at_bytes:
                    time.sleep(0.01)
                request.wfile.write(body[start:start + block])
                self.served_bytes += len(body[start:start + block])
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True
