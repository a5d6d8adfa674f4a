"""Searches that lose their driver, a worker, their storage, room on a disk, or a node."""

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.clusters_here import Nodes, command_line, namespaces_possible, process, until
from support.disks import disk, disks_possible, fill
from support.runs import curve
from support.searches import RATE, found, history, report, run, search

pytestmark = pytest.mark.ray


def test_a_killed_driver_goes_on_and_a_killed_worker_too(tmp_path: Path) -> None:
    space = {RATE: {"choice": [0.001, 0.01]}}
    command, log = search(tmp_path, 6, 150, trials=2, space=space, seed=1, workers=2), tmp_path / "log"
    with process(*command, log=log, cwd=tmp_path) as driver:
        until(lambda: len(history(tmp_path)) >= 3, 300, log, driver)
    assert {line["epoch"] for line in history(tmp_path)} <= set(range(1, 6))
    before = len(history(tmp_path))
    with process(*command, "--resume", log=log, cwd=tmp_path) as driver:
        until(lambda: len(history(tmp_path)) >= before + 2, 300, log, driver)
        mine = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if session(pid) == driver.pid}
        workers = [pid for pid in mine if command_line(pid).startswith("ray::join")]
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: driver.poll() is not None, 300, log)
        assert driver.returncode == 0, log.read_text()
    for trial in ("trial_00000", "trial_00001"):
        epochs = [line["epoch"] for line in history(tmp_path) if line["trial"] == trial]
        assert set(epochs) == set(range(1, 7))
        assert len(epochs) <= 9, "little was trained twice"
    assert [row["status"] for row in report(tmp_path)["trials"]] == ["done", "done"]
    for row in report(tmp_path)["trials"]:  # steps go on where the checkpoint was: none is missing, whatever died
        steps = curve(found(tmp_path) / row["trial"], "meta_train/loss")
        assert set(steps) >= set(range(900))
    changed = run(tmp_path, [*command, "--resume", "--search.trials", "3"], status=2)
    assert "its configuration differs" in changed


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def test_storage_that_vanishes_ends_the_search_with_one_message(tmp_path: Path) -> None:
    space, storage = {RATE: {"choice": [0.001, 0.01]}}, tmp_path / "storage"
    command, log = search(tmp_path, 50, 100, trials=2, space=space, storage=str(storage)), tmp_path / "log"
    with process(*command, log=log, cwd=tmp_path) as driver:
        until(lambda: len(history(tmp_path)) >= 2, 300, log, driver)
        storage.rename(tmp_path / "gone")
        storage.write_text("a file where the folder was")
        until(lambda: driver.poll() is not None, 120, log)
    assert driver.returncode == 2, log.read_text()
    assert log.read_text().count("lightning-meta: error:") == 1
    assert re.search(f"{storage}/.* is gone", log.read_text())


@pytest.mark.skipif(not disks_possible(), reason="mounts small disks, for which it must be root")
def test_a_full_disk_ends_the_search_with_one_message_and_nothing_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ExitStack() as stack:
        own, storage = (disk(stack, tmp_path / name, megabytes=6) for name in ("own", "storage"))
        space = {RATE: {"grid": [0.001, 0.01]}}
        command = search(own, 6, 60, trials=1, space=space, storage=str(storage))
        for full, more in ((storage, []), (own, ["--resume"])):
            before = len(history(own))
            with process(*command, *more, log=log, cwd=own) as driver:
                until(lambda before=before: len(history(own)) >= before + 2, 300, log, driver)
                ballast = fill(full)
                until(lambda driver=driver: driver.poll() is not None, 120, log)
            assert driver.returncode == 2, log.read_text()
            assert log.read_text().count("lightning-meta: error:") == 1
            assert re.search(f"the disk of {full}/.* is full", log.read_text())
            assert "Traceback" not in log.read_text()
            ballast.unlink()
            log.unlink()
        run(own, [*command, "--resume"])
        for trial in ("trial_00000", "trial_00001"):
            epochs = [line["epoch"] for line in history(own) if line["trial"] == trial]
            assert set(epochs) == set(range(1, 7))
            assert len(epochs) <= 8, "an epoch a time may be trained twice"
            assert set(curve(storage / "sinusoid-maml-search-version_0" / trial, "meta_train/loss")) >= set(range(360))


@pytest.mark.skipif(not namespaces_possible(), reason="makes network namespaces, for which it must be root")
def test_a_search_over_several_nodes_survives_the_death_of_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ExitStack() as stack:
        nodes = Nodes(stack, [0, 1, 1], log)
        space = {RATE: {"grid": [0.001, 0.01]}}
        command = search(tmp_path, 12, 150, trials=1, space=space, cpus=1.0)
        command += ["--address", f"{nodes.addresses[0]}:6379"]
        driver = stack.enter_context(process(*nodes.inside(0), *command, log=log, cwd=tmp_path))
        both = {"trial_00000", "trial_00001"}
        until(lambda: all(nodes.pids(i, "ray::ImplicitFunc") for i in (1, 2)), 300, log, driver)
        until(lambda: {line["trial"] for line in history(tmp_path)[-2:]} == both, 300, log, driver)
        (raylet,) = nodes.pids(2, "raylet/raylet")
        os.kill(raylet, signal.SIGKILL)
        until(lambda: driver.poll() is not None, 300, log)
        assert driver.returncode == 0, log.read_text()
    for trial in ("trial_00000", "trial_00001"):
        assert {line["epoch"] for line in history(tmp_path) if line["trial"] == trial} == set(range(1, 13))
    assert [row["status"] for row in report(tmp_path)["trials"]] == ["done", "done"]
