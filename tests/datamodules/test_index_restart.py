"""`lightning-meta shards index` is continued after a kill: finished sources are not read again, and the index is the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datamodules.scanning import units
from datamodules.scanning.index_sources import index_sources
from lightning_meta.core import InputError
from support.image_sources import content, samples, write_folders, write_tar

SLOW = """
import sys, time
from pathlib import Path
from datamodules.scanning import units
from datamodules.scanning.index_sources import index_sources
read = units.READERS["tar"]
units.READERS["tar"] = lambda unit, report: read(unit, report) if "/0" in unit.place or "/1" in unit.place else time.sleep(600)
index_sources([sys.argv[1]], Path(sys.argv[2]), size=8, workers=int(sys.argv[3]), title="t")
"""


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    for number in range(4):
        write_tar(tmp_path / "tars" / f"{number}.tar", samples(range(number * 12, number * 12 + 12)))
    return tmp_path / "tars"


def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that are read from now on."""
    names, readers = [], dict(units.READERS)

    def noting(kind: str):
        def read(unit: units.Unit, report: units.Report) -> units.Columns:
            names.append(Path(unit.place).name)
            return readers[kind](unit, report)

        return read

    for kind in readers:
        monkeypatch.setitem(units.READERS, kind, noting(kind))
    return names


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_kill_the_same_command_continues(
    workers: int, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tars), str(out), str(workers)], stdout=subprocess.DEVNULL
    )
    while len(list(partial.glob("scans/*.npz"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    with pytest.raises(InputError, match=r"another process is writing .*out: wait for it, or choose another --out"):
        index_sources([str(tars)], out, size=8, title="t")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    names = scanned(monkeypatch)
    index_sources([str(tars)], out, size=8, title="t", workers=1)
    assert names == ["2.tar", "3.tar"]
    assert not partial.exists()
    index_sources([str(tars)], tmp_path / "unbroken", size=8, title="t", workers=1)
    assert content(out) == content(tmp_path / "unbroken")


def failed(tars: Path, out: Path) -> None:
    """A scan whose last tar is truncated, so that the others are kept."""
    whole = (tars / "3.tar").read_bytes()
    (tars / "3.tar").write_bytes(whole[:2000])
    with pytest.raises(InputError, match=rf"3\.tar ends at byte 2000, .* What was scanned is kept in {out}\.partial"):
        index_sources([str(tars)], out, size=8, workers=1)
    (tars / "3.tar").write_bytes(whole)


def test_a_source_that_changed_and_other_labels_are_read_anew(
    tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(tars, tmp_path / "out")
    names = scanned(monkeypatch)
    write_tar(tars / "1.tar", samples(range(100, 124)))
    index_sources([str(tars)], tmp_path / "out", size=8)
    assert names == ["1.tar", "3.tar"]
    failed(tars, tmp_path / "out2")
    names.clear()
    index_sources([str(tars)], tmp_path / "out2", size=8, label="json:label")
    assert names == ["0.tar", "1.tar", "2.tar", "3.tar"]


def test_what_is_kept_and_damaged_is_read_anew(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(tars, tmp_path / "out")
    for number, kept in enumerate(sorted((tmp_path / "out.partial" / "scans").iterdir())):
        kept.write_bytes(kept.read_bytes()[: (0, 50, 700)[number]])
    names = scanned(monkeypatch)
    index_sources([str(tars)], tmp_path / "out", size=8)
    assert names == ["0.tar", "1.tar", "2.tar", "3.tar"]


def test_a_scan_of_folders_continues_by_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.scanning.image_lists.CHUNK", 10)
    root = write_folders(tmp_path / "own", {f"c{n}": range(n * 5, n * 5 + 5) for n in range(6)})
    broken = root / "c5" / "00.png"
    broken.symlink_to("nowhere")
    with pytest.raises(InputError, match=r"cannot read the image .*00\.png \(it is a link that leads nowhere\)"):
        index_sources([str(root)], tmp_path / "out", size=8)
    broken.unlink()
    names = scanned(monkeypatch)
    index_sources([str(root)], tmp_path / "out", size=8, title="t")
    assert len(names) == 1
    monkeypatch.setattr("datamodules.scanning.image_lists.CHUNK", 1000)
    index_sources([str(root)], tmp_path / "whole", size=8, title="t")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_scan_in_processes_gives_the_same(tars: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        index_sources([str(tars)], tmp_path / name, size=8, title="t", workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    (tars / "2.tar").write_bytes((tars / "2.tar").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"2\.tar ends at byte 5000"):
        index_sources([str(tars)], tmp_path / "three", size=8, workers=2)
