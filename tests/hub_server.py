"""A local server that implements the parts of the hub's API that ``huggingface_hub`` uses here."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

OLD, NEW = "1" * 40, "2" * 40
LFS = ".safetensors"
"""Suffix of files that are uploaded separately from the commit."""


@dataclass
class Hub:
    """State of the server and a log of its requests.

    Attributes:
        files: contents by repository, commit and file name.
        repositories: latest commit of repositories.
        main: latest commit of all other repositories.
        cut: number of bytes missing at the end of every download.
        refusal: status, error code and message of every response, to simulate errors.
        asked: requests, as ``GET /path``.
        tokens: ``Authorization`` headers.
        created: requests to create repositories.
        uploads: separately uploaded files, by SHA-256.
        endpoint: URL of the server.
    """

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    main: str = NEW
    cut: int = 0
    refusal: tuple[int, str, str] | None = None
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""

    def latest(self, repository: str) -> str:
        return self.repositories.get(repository, self.main)

    def tree(self, repository: str, commit: str) -> dict[str, bytes]:
        return {name: data for (known, at, name), data in self.files.items() if (known, at) == (repository, commit)}

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Replace the files of the repository; return the commit."""
        listed = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in files.items()}, sort_keys=True)
        commit = hashlib.sha1(listed.encode()).hexdigest()
        self.files |= {(repository, commit, name): data for name, data in files.items()}
        self.repositories[repository] = commit
        return commit


class _Handler(BaseHTTPRequestHandler):
    offer: Hub

    def do_HEAD(self) -> None:
        self.take()

    def do_GET(self) -> None:
        self.take()

    def do_POST(self) -> None:
        self.take()

    def do_PUT(self) -> None:
        self.take()

    def take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)[1:]
        self.offer.asked.append(f"{self.command} /{path}")
        self.offer.tokens.append(self.headers.get("Authorization"))
        if self.offer.refusal:
            status, code, message = self.offer.refusal
            self.send(b"", status, {"X-Error-Code": code, "X-Error-Message": message})
        elif "/resolve/" in path:
            self.resolve(path)
        elif path.startswith("lfs/"):
            self.offer.uploads[path.removeprefix("lfs/")] = body
            self.send(b"")
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.answer({"objects": [self.place(item) for item in json.loads(body)["objects"]], "transfer": "basic"})
        else:
            self.api(path.removeprefix("api/"), body)

    def resolve(self, path: str) -> None:
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        commit = self.offer.latest(repository) if revision == "main" else revision
        content = self.offer.files.get((repository, commit, name))
        if content is None:
            known = {key[:2] for key in self.offer.files}
            code = "EntryNotFound" if (repository, commit) in known else "RevisionNotFound"
            self.send(b"", 404, {"X-Error-Code": code if repository in {key for key, _ in known} else "RepoNotFound"})
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.send(content, 200, {"X-Repo-Commit": commit, "ETag": etag}, self.offer.cut)

    def place(self, item: dict[str, Any]) -> dict[str, Any]:
        here = f"http://{self.headers['Host']}/lfs/{item['oid']}"
        return {**item, "actions": {"upload": {"href": here}}}

    def api(self, path: str, body: bytes) -> None:
        words = path.split("/")
        repository, asked = "/".join(words[1:3]), "".join(words[3:4])
        if path == "repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.offer.created.append(wanted)
            self.offer.repositories.setdefault(name, self.offer.commit(name, {".gitattributes": b""}))
            self.answer({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif path == "validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif asked == "preupload":
            files = [
                {**item, "uploadMode": "lfs" if item["path"].endswith(LFS) else "regular", "shouldIgnore": False}
                for item in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif asked == "commit":
            self.take_commit(repository, body)
        elif asked in ("", "revision"):
            self.answer({"id": repository, "sha": self.offer.latest(repository), "siblings": []})
        elif asked == "tree":
            tree = self.offer.tree(repository, self.offer.latest(repository))
            self.answer([{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in tree.items()])

    def take_commit(self, repository: str, body: bytes) -> None:
        files = self.offer.tree(repository, self.offer.latest(repository))
        for row in map(json.loads, body.splitlines()):
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.offer.uploads[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.offer.commit(repository, files)
        self.answer({"commitUrl": f"http://{self.headers['Host']}/{repository}/commit/{commit}", "commitOid": commit})

    def answer(self, value: Any) -> None:
        self.send(json.dumps(value).encode())

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) - cut])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """Start a server and point the client to it, with an empty cache."""
    offer = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"offer": offer}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    offer.endpoint = f"http://127.0.0.1:{server.server_port}"
    use(monkeypatch, server.server_port, cache)
    yield offer
    server.shutdown()
    server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, port: int, cache: Path) -> None:
    """Point the client to a local port; the client reads its environment only when imported."""
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
