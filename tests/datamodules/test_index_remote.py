"""`lightning-meta shards index` of files at URLs: read once, and again where the network fails, with nothing kept of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import yaml

from datamodules.reading import remote
from datamodules.scanning import tape
from datamodules.scanning.index_sources import index_sources
from datamodules.scanning.remote_file import RemoteFile
from lightning_meta.core import InputError
from support.faulty_server import Fault, Handler, cut_off, dropped, unavailable
from support.image_sources import content, samples, write_parquet, write_tar

NAMES = [f"n{i}" for i in range(6)]


class Ranges(Handler):
    """A server that sends ranges, as web servers and object stores do."""

    ranges: list[str]

    def do_GET(self) -> None:  # noqa: N802  the name of its base class
        asked = self.headers.get("Range")
        if asked is None:
            super().do_GET()
            return
        self.ranges.append(asked)
        path = Path(self.translate_path(self.path))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        data = path.read_bytes()[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(params=[Ranges, Handler], ids=["with ranges", "without ranges"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, type[Handler]]]:
    """The address of a server of `tmp_path/www`, and its handler."""
    monkeypatch.setattr(remote, "DELAYS", (0.01, 0.02))
    for number in range(2):
        members = [*samples(range(number * 24, number * 24 + 24)), ("z.bin", bytes(2**21 * number))]
        write_tar(tmp_path / "www" / f"train-{number:03d}.tar", members)
    write_parquet(tmp_path / "www" / "x.parquet", range(100, 130), NAMES)
    handler = type("OfThis", (request.param,), {"faults": {}, "asked": Counter(), "ranges": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "www"))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", handler
        http.shutdown()
        thread.join()


def test_tars_at_urls_give_the_index_of_local_ones(server: tuple[str, type[Handler]], tmp_path: Path) -> None:
    url, handler = server
    index_sources([str(tmp_path / "www" / "*.tar")], tmp_path / "local", size=8, title="t")
    for name, pattern, workers in (("braces", "train-{000..001}.tar", 1), ("glob", "*.tar", 2)):
        handler.asked.clear()
        index_sources([f"{url}/{pattern}"], tmp_path / name, size=8, title="t", workers=workers)
        one, other = (content(tmp_path / folder) for folder in ("local", name))
        assert one.pop("index.json") != other.pop("index.json")  # their roots have other names
        assert one == other
        roots = yaml.safe_load((tmp_path / name / "task.yaml").read_text())["data"]["init_args"]["roots"]
        assert list(roots.values()) == [url]
        assert handler.asked["train-001.tar"] == 1  # the first is looked into for its labels before
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize("fault", [unavailable, dropped, cut_off])
def test_a_network_that_fails_is_asked_again(
    fault: Fault, server: tuple[str, type[Handler]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    monkeypatch.setattr(tape, "BUFFER", 2**13)
    handler.faults["train-001.tar"] = [fault]
    if fault is cut_off and not issubclass(handler, Ranges):
        with pytest.raises(InputError, match=r"train-001\.tar at byte \d+: .*does.* support range requests"):
            index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "out", size=8, workers=1)
        return
    index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "out", size=8, workers=1)
    index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "again" / "out", size=8, workers=1)
    assert content(tmp_path / "out") == content(tmp_path / "again" / "out")
    if fault is cut_off:
        assert int(handler.ranges[0].removeprefix("bytes=").partition("-")[0]) > 0  # it continued where it had ended


def refused(handler: Handler) -> bool:
    handler.send_error(403)
    return True


def test_what_cannot_be_reached_is_one_line(
    server: tuple[str, type[Handler]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    monkeypatch.setattr(handler, "do_HEAD", lambda self: self.send_error(503 if "000" in self.path else 404))
    handler.faults |= {"train-000.tar": [unavailable] * 9, "train-001.tar": [refused] * 9}
    for source, message in (
        ("train-000.tar", r"cannot read http.*train-000\.tar: 503, .*Check the address and the network"),
        ("train-001.tar", r"cannot read http.*train-001\.tar: 403, .*Check the address"),
        ("train-002.tar", r"cannot read http.*train-002\.tar: there is no such file .*Check the address"),
        ("none/*.tar", r"(cannot list http.*none/\*\.tar|no file matches 'http.*none/\*\.tar')"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            index_sources([f"{url}/{source}"], tmp_path / "out", size=8)
        assert "\n" not in str(raised.value)
    with pytest.raises(
        InputError, match=r"cannot read http://127\.0\.0\.1:9/x\.tar: .*Check the address and the network"
    ):
        index_sources(["http://127.0.0.1:9/x.tar"], tmp_path / "out", size=8)
    with pytest.raises(InputError, match=r"cannot .*nosuch://x/x\.tar: Protocol not known: nosuch.*Check the address"):
        index_sources(["nosuch://x/x.tar"], tmp_path / "out", size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["www"]


def test_parquet_at_a_url(server: tuple[str, type[Handler]], tmp_path: Path) -> None:
    url, handler = server
    if not issubclass(handler, Ranges):
        with pytest.raises(InputError, match=r"x\.parquet at byte \d+: .*range requests"):
            index_sources([f"{url}/x.parquet"], tmp_path / "out", size=8)
        return
    handler.faults["x.parquet"] = [unavailable]
    result = index_sources([f"{url}/x.parquet"], tmp_path / "out", size=8)
    local = index_sources([str(tmp_path / "www" / "x.parquet")], tmp_path / "local", size=8)
    assert list(result.index.records) == list(local.index.records)


def test_any_other_storage_of_fsspec(tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    for number in range(2):
        data = write_tar(tmp_path / "x.tar", samples(range(number * 12, number * 12 + 12))).read_bytes()
        storage.pipe_file(f"/bucket/{number}.tar", data)
    try:
        result = index_sources(["memory://bucket/*.tar"], tmp_path / "out", size=8, workers=1)
    finally:
        storage.rm("/bucket", recursive=True)
    assert [source.path for source in result.index.sources] == ["0.tar", "1.tar"]
    assert result.index.images == 24


def test_a_remote_file_can_be_read_from_anywhere(server: tuple[str, type[Handler]], tmp_path: Path) -> None:
    url, handler = server
    data = (tmp_path / "www" / "x.parquet").read_bytes()
    with RemoteFile(f"{url}/x.parquet", len(data)) as file:
        assert file.read(10) == data[:10]
        if issubclass(handler, Ranges):
            assert file.seek(-8, 2) == len(data) - 8
            assert file.read() == data[-8:]
        assert file.seek(0) == 0
        assert file.read() == data
