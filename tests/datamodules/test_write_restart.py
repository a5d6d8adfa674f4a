"""`lightning-meta shards write` in several processes: the same set, continued after a kill, begun anew with other settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datamodules.index.opening import read_index
from datamodules.sources import folder_classes, glyph_set
from datamodules.sources.folder import write_folder
from datamodules.sources.glyph_set import write_glyphs
from lightning_meta.core import InputError
from support.image_sources import content, write_folders

SLOW = """
import os, time
from datamodules.sources import glyph_set
draw = glyph_set.draw_class
def slow(seed, number, drawings):
    os.write(1, f"{os.getpid()}\\n".encode())  # at once, unlike print
    if number >= 64:
        time.sleep(600)
    return draw(seed, number, drawings)
glyph_set.draw_class = slow
from lightning_meta.cli import main
main(["shards", "write", "glyphs", "--classes=100", "--drawings=2", "--processes=2", "--out=set"])
"""


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve classes of five images, two classes to a part."""
    monkeypatch.setattr(folder_classes, "IMAGES", 10)
    return write_folders(tmp_path / "images", {f"c{n:02d}": range(n * 5, n * 5 + 5) for n in range(12)})


def drawn(out: Path, drawings: int = 2, processes: int = 1) -> Iterator[tuple[str, bytes]]:
    write_glyphs(out, classes=100, drawings=drawings, processes=processes)
    return content(out)


@pytest.mark.parametrize("encoded", [False, True])
def test_any_number_of_processes_writes_the_same(images: Path, tmp_path: Path, encoded: bool) -> None:
    for processes in (1, 2, 3):
        write_folder(images, tmp_path / str(processes), 8, encoded=encoded, processes=processes)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")
    assert drawn(tmp_path / "glyphs 1") == drawn(tmp_path / "glyphs 2", processes=2)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_the_same_command_continues(
    sign: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "set.chunks.partial"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", SLOW], cwd=tmp_path, stdout=said, stderr=said)
    while len(list(kept.glob("chunks/*.npz"))) < 2:
        assert process.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.05)
    with pytest.raises(InputError, match=r"another process is writing .*set: wait for it, or choose another --out"):
        drawn(tmp_path / "set")
    process.send_signal(sign)
    assert process.wait(60) == (-signal.SIGKILL if sign == signal.SIGKILL else 130)
    workers = {int(line) for line in (tmp_path / "said").read_text().splitlines() if line.isdecimal()}
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(map(runs, workers)):
        assert time.monotonic() < deadline, "a process goes on after its parent"
        time.sleep(0.05)
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert not (tmp_path / "set").exists()
    capsys.readouterr()
    continued = drawn(tmp_path / "set")
    assert "going on at class 65 of 100" in capsys.readouterr().out
    assert continued == drawn(tmp_path / "unbroken")
    assert not list(tmp_path.glob("*.partial"))


def runs(process: int) -> bool:
    """Not where it has ended and its new parent has not asked for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_other_settings_and_other_images_are_made_anew(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(images, tmp_path / "unbroken", 9, processes=1, fractions=(0.5, 0.25, 0.25))
    index = read_index(str(tmp_path / "unbroken"))
    first, last = (min((images / index.name(number)).iterdir()) for number in (0, len(index.records) - 1))
    whole = last.read_bytes()
    capsys.readouterr()

    def failed(size: int) -> str:
        last.write_bytes(b"no image")
        with pytest.raises(
            InputError, match=r"--skip true.* is kept in .*out\.chunks\.partial: the same command continues"
        ):
            write_folder(images, tmp_path / "out", size, processes=1, fractions=(0.5, 0.25, 0.25))
        last.write_bytes(whole)
        return capsys.readouterr().out

    failed(8)
    said = " ".join(failed(9).split())
    assert "starting anew: what" in said
    assert "was made with other settings (preprocess)" in said
    os.utime(first, ns=(0, 0))
    write_folder(images, tmp_path / "out", 9, processes=1, fractions=(0.5, 0.25, 0.25))
    said = capsys.readouterr().out
    assert "1 of " in said
    assert "parts that were kept are made anew: their sources have changed" in said
    assert "going on at class " in said
    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


def test_a_part_that_is_damaged_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = glyph_set.draw_class
    monkeypatch.setattr(glyph_set, "draw_class", lambda *given: draw(*given) if given[1] < 64 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drawn(tmp_path / "set")
    monkeypatch.undo()
    for kept, length in zip(sorted(tmp_path.rglob("*.npz")), (0, 5000), strict=True):
        kept.write_bytes(kept.read_bytes()[:length])
    assert drawn(tmp_path / "set") == drawn(tmp_path / "unbroken")


def test_a_process_that_is_killed_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, parent = glyph_set.draw_class, os.getpid()

    def killed(seed: int, number: int, drawings: int) -> object:
        assert os.getpid() != parent
        if number == 70:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(seed, number, drawings)

    monkeypatch.setattr(glyph_set, "draw_class", killed)
    with pytest.raises(
        InputError, match=r"^a process ended before its work was done: .*Try again with fewer processes"
    ):
        drawn(tmp_path / "set", processes=2)
    assert not (tmp_path / "set").exists()
