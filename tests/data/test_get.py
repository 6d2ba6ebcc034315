"""Downloads of data sets, from a server on this machine."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmark.common.atomic import locked
from benchmark.common.errors import UserError
from benchmark.data import command
from benchmark.data import get as downloads
from benchmark.data.get import UNFINISHED, Download, digest, get, listed

FILES = {"images/a.png": bytes(range(256)) * 4000, "labels/a.png": b"label", "list.txt": b"a\n"}


@dataclass
class Server:
    """Serves one archive; ``cut`` bytes are missing at the end of an answer; ``asked`` are the ranges asked for."""

    content: bytes
    ranges: bool = True
    cut: int = 0
    url: str = ""
    asked: list[str | None] = field(default_factory=list)


def archive(files: dict[str, bytes], folder: str = "set-1") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as made:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{folder}/images/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(archive({**FILES, "README": b"not wanted", "images/../../escaped": b"x"}))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.asked.append(asked)
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            rest = state.content[first:]
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: len(rest) - state.cut])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{listening.server_port}/set.tar.gz"
        yield state
        listening.shutdown()


@pytest.fixture
def download(server: Server, tmp_path: Path) -> Download:
    for name, content in FILES.items():
        path = tmp_path / "expected" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Download(
        archive=server.url, folder="set-1", parts=("images", "labels", "list.txt"), files=len(FILES),
        bytes=sum(map(len, FILES.values())), sha256=digest(tmp_path / "expected"), licence="research only",
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_is_downloaded_without_other_files(download: Download, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    place = get("camvid", download, tmp_path / "data", lambda done, total: seen.append((done, total)))
    assert contents(tmp_path / "data") == {f"camvid/{name}": content for name, content in FILES.items()}
    assert not any(path.is_symlink() for path in place.rglob("*"))
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_continues(ranges: bool, server: Server, download: Download, tmp_path: Path) -> None:
    server.ranges, server.cut = ranges, len(server.content) // 2
    with pytest.raises(UserError, match="run the command again to continue"):
        get("camvid", download, tmp_path)
    kept = (tmp_path / UNFINISHED / "camvid.tar.gz").stat().st_size
    assert kept == len(server.content) - server.cut
    assert not (tmp_path / "camvid").exists()
    server.cut = 0
    get("camvid", download, tmp_path)
    assert server.asked == [None, f"bytes={kept}-"]
    assert contents(tmp_path / "camvid") == FILES
    assert not (tmp_path / UNFINISHED).exists()


@pytest.mark.parametrize("fault", ["other contents", "no archive", "nothing wanted"])
def test_nothing_is_kept_of_another_archive(fault: str, server: Server, download: Download, tmp_path: Path) -> None:
    server.content = {
        "other contents": archive({**FILES, "list.txt": b"b\n"}),
        "no archive": b"<html>",
        "nothing wanted": archive(FILES, "set-2"),
    }[fault]
    with pytest.raises(UserError, match="nothing was kept") as caught:
        get("camvid", download, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path / "data") == {}


def test_an_existing_folder_is_left_as_it_is(server: Server, download: Download, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "camvid").mkdir(parents=True)
    (root / "camvid/own.png").write_bytes(b"own")
    get("camvid", download, root)
    assert contents(root) == {"camvid/own.png": b"own"}
    assert server.asked == []


@pytest.mark.skipif(sys.platform == "win32", reason="no lock on folders")
def test_a_second_process_waits_for_the_first(server: Server, download: Download, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / UNFINISHED).mkdir(parents=True)
    second = threading.Thread(target=get, args=("camvid", download, root))
    with locked(root / UNFINISHED):
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert server.asked == []
    second.join(60)
    assert contents(root) == {f"camvid/{name}": content for name, content in FILES.items()}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_in_the_place_of_the_archive_is_not_opened(download: Download, tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).mkdir()
    os.mkfifo(tmp_path / UNFINISHED / "small.tar.gz")
    with pytest.raises(UserError, match="a FIFO, not a file"):
        get("small", download, tmp_path)


def test_no_answer_is_one_line(download: Download, tmp_path: Path) -> None:
    closed = download.model_copy(update={"archive": "http://127.0.0.1:9/set.tar.gz"})
    with pytest.raises(UserError, match="no response"):
        get("camvid", closed, tmp_path)


def test_the_command_asks_for_the_licences_and_leaves_what_is_there(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "listed", lambda: {"camvid": download})
    with pytest.raises(UserError, match=r"research only.*--accept-licences"):
        command.get("camvid", tmp_path, accept_licences=False)
    assert not list(tmp_path.glob("camvid*"))
    assert "3 files" in command.get("camvid", tmp_path, accept_licences=True)
    assert "left as it is" in command.get("camvid", tmp_path, accept_licences=False)
    with pytest.raises(UserError, match="by hand") as caught:
        command.get("gtav-to-cbm", tmp_path, accept_licences=False)
    assert all(f"{name}: " in str(caught.value) for name in ("gta5", "cityscapes", "bdd100k", "mapillary"))


def test_the_pinned_downloads_are_of_commits() -> None:
    for name, each in listed().items():
        assert each.archive.startswith("https://"), name
        assert len(each.archive.rsplit("/", 1)[1]) == 40, name
        assert len(each.sha256) == 64, name
