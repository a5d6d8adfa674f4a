"""`lightning-meta shards index` of files at URLs: read once, and again where the network fails, with nothing kept of them."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml

from datamodules.reading import remote
from datamodules.reading.shard_set import ShardSet
from datamodules.scanning import tape
from datamodules.scanning.index_sources import index_sources
from datamodules.scanning.remote_file import RemoteFile
from lightning_meta.core import InputError
from support.faulty_server import Fault, Handler, Server, cut_off, dropped, serving, unavailable
from support.image_sources import content, samples, write_parquet, write_tar

NAMES = [f"n{i}" for i in range(6)]


@pytest.fixture(params=["with ranges", "without ranges"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of `tmp_path/www`, which sends parts of files or does not."""
    monkeypatch.setattr(remote, "DELAYS", (0.01, 0.02))
    for number in range(2):
        members = [*samples(range(number * 24, number * 24 + 24)), ("z.bin", bytes(2**21 * number))]
        write_tar(tmp_path / "www" / f"train-{number:03d}.tar", members)
    write_parquet(tmp_path / "www" / "x.parquet", range(100, 130), NAMES)
    with serving(tmp_path / "www") as server:
        server.whole_only += [True] * (request.param == "without ranges")
        yield server


def test_tars_at_urls_give_the_index_of_local_ones(server: Server, tmp_path: Path) -> None:
    url = server.url
    index_sources([str(tmp_path / "www" / "*.tar")], tmp_path / "local", size=8, title="t")
    for name, pattern, workers in (("braces", "train-{000..001}.tar", 1), ("glob", "*.tar", 2)):
        server.asked.clear()
        index_sources([f"{url}/{pattern}"], tmp_path / name, size=8, title="t", workers=workers)
        assert content(tmp_path / "local") == content(tmp_path / name)
        assert list(task_roots(tmp_path / name).values()) == [url]
        assert server.asked["train-001.tar"] == 1  # the first is looked into for its labels before
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize("fault", [unavailable, dropped, cut_off])
def test_a_network_that_fails_is_asked_again(
    fault: Fault, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url
    monkeypatch.setattr(tape, "BUFFER", 2**13)
    server.faults["train-001.tar"] = [fault]
    if fault is cut_off and server.whole_only:
        with pytest.raises(InputError, match=r"train-001\.tar at byte \d+: .*does.* support range requests"):
            index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "out", size=8, workers=1)
        return
    index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "out", size=8, workers=1)
    index_sources([f"{url}/train-001.tar", f"{url}/train-000.tar"], tmp_path / "again" / "out", size=8, workers=1)
    assert content(tmp_path / "out") == content(tmp_path / "again" / "out")
    if fault is cut_off:
        whole = (server.root / "train-001.tar").stat().st_size
        assert 0 < server.sent["train-001.tar"] < whole  # what it had not read yet, and no more


def refused(handler: Handler) -> bool:
    handler.send_error(403)
    return True


def test_what_cannot_be_reached_is_one_line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url
    monkeypatch.setattr(Handler, "do_HEAD", lambda self: self.send_error(503 if "000" in self.path else 404))
    server.faults |= {"train-000.tar": [unavailable] * 9, "train-001.tar": [refused] * 9}
    for source, message in (
        ("train-000.tar", r"cannot read http.*train-000\.tar: 503, .*Check the address and the network"),
        ("train-001.tar", r"cannot read http.*train-001\.tar: access is refused \(403, .*Check the credentials"),
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


def test_parquet_at_a_url(server: Server, tmp_path: Path) -> None:
    url = server.url
    if server.whole_only:
        with pytest.raises(InputError, match=r"x\.parquet at byte \d+: .*range requests"):
            index_sources([f"{url}/x.parquet"], tmp_path / "out", size=8)
        return
    server.faults["x.parquet"] = [unavailable]
    result = index_sources([f"{url}/x.parquet"], tmp_path / "out", size=8)
    local = index_sources([str(tmp_path / "www" / "x.parquet")], tmp_path / "local", size=8)
    assert list(result.index.records) == list(local.index.records)
    remote_set = ShardSet(str(tmp_path / "out"), roots=task_roots(tmp_path / "out"))
    local_set = ShardSet(str(tmp_path / "local"), roots=task_roots(tmp_path / "local"))
    for number in range(6):
        which = np.arange(local_set.count(number))
        assert np.array_equal(remote_set.images(number, which), local_set.images(number, which))
    assert "by ranges of bytes" in remote_set.describe()


def task_roots(out: Path) -> dict[str, str]:
    """The roots that a task file names."""
    return yaml.safe_load((out / "task.yaml").read_text())["data"]["init_args"]["roots"]


def test_images_of_tars_at_urls_are_read_by_ranges(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    index_sources([f"{url}/*.tar"], tmp_path / "out", size=8)
    index_sources([str(tmp_path / "www" / "*.tar")], tmp_path / "local", size=8)
    remote_set = ShardSet(str(tmp_path / "out"), roots=task_roots(tmp_path / "out"))
    local_set = ShardSet(str(tmp_path / "local"), roots=task_roots(tmp_path / "local"))
    if server.whole_only:
        with pytest.raises(InputError, match="does not give parts of files"):
            remote_set.images(0, np.arange(2))
        return
    for number in range(6):
        assert np.array_equal(remote_set.images(number, np.arange(8)), local_set.images(number, np.arange(8)))
    assert remote_set.verify() == []


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


def test_a_remote_file_can_be_read_from_anywhere(server: Server, tmp_path: Path) -> None:
    url = server.url
    data = (tmp_path / "www" / "x.parquet").read_bytes()
    with RemoteFile(f"{url}/x.parquet", len(data)) as file:
        assert file.read(10) == data[:10]
        if not server.whole_only:
            assert file.seek(-8, 2) == len(data) - 8
            assert file.read() == data[-8:]
        assert file.seek(0) == 0
        assert file.read() == data
