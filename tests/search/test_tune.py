"""Searches as a user runs them: real clusters, killed drivers, killed workers, killed nodes."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support.clusters_here import ENVIRONMENT, Nodes, command_line, namespaces_possible, process, until
from support.disks import disk, disks_possible, fill
from support.runs import curve, write_yaml

pytestmark = pytest.mark.ray

TUNE = [sys.executable, "-m", "lightning_meta", "tune", "--config", "sinusoid-maml.yaml"]
RATE, LR, SHOTS = "model.learner.init_args.inner_lr", "model.optimizer.init_args.lr", "data.init_args.shots"


def search(folder: Path, epochs: int, batches: int = 20, **options: Any) -> list[str]:
    """The command of a search on sinusoids, with these options, below `folder`."""
    config = {
        "search": {"cpus": 0.5, **options},
        "data": {"init_args": {"val_shots": [3, 5], "epoch_batches": batches, "meta_batch": 4}},
        "trainer": {"max_epochs": epochs, "log_every_n_steps": 1, "accelerator": "cpu"},
    }
    config["data"]["init_args"] |= {"val_episodes": 8, "test_episodes": 12}
    return [*TUNE, "--config", write_yaml(folder / "search.yaml", config)]


def run(folder: Path, command: list[str], status: int = 0) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def found(folder: Path) -> Path:
    return folder / "runs/sinusoid-maml-search/version_0"


def history(folder: Path) -> list[dict[str, Any]]:
    path = found(folder) / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def report(folder: Path) -> dict[str, Any]:
    return json.loads((found(folder) / "search.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_population_begun_at_bad_rates_finds_its_way(tmp_path: Path) -> None:
    bad = [{RATE: rate} for rate in (1e-4, 1e3, 1e-3, 0.02)]
    space = {RATE: {"loguniform": [1e-4, 1e3]}, LR: {"loguniform": [1e-4, 1e-2]}, SHOTS: {"choice": [2, 5, 10]}}
    scheduler = {"class_path": "ray.tune.schedulers.PopulationBasedTraining", "init_args": {"resample_probability": 0}}
    said = run(tmp_path, search(tmp_path, 6, 60, trials=4, start=bad, space=space, scheduler=scheduler))
    assert "is the best of 4 trials" in said
    assert said.count("meta_test:") == 2, "at each of the shots of validation"

    reports = [line for line in history(tmp_path) if line["trial"] == "trial_00001"]
    assert "nan" in reports[0]["failed"]
    later = [line for line in reports[1:] if not line["failed"]]
    assert later, "it was given the weights of a better one"
    assert later[0]["values"][RATE] < 1
    assert later[0]["epoch"] > 1
    assert {line["epoch"] for line in history(tmp_path) if line["trial"] == later[-1]["trial"]} >= {6}

    last = {line["trial"]: line for line in history(tmp_path) if not line["failed"]}
    for trial, line in last.items():  # what is reported is what was trained with, from the first step on
        rates = curve(found(tmp_path) / trial, "meta_train/learning_rate")
        assert rates[line["step"] - 60] == rates[line["step"] - 1] == pytest.approx(line["values"][LR])
    first = {line["trial"]: line for line in reversed(history(tmp_path))}
    assert any(last[trial]["values"][LR] != first[trial]["values"][LR] for trial in last)

    assert report(tmp_path)["trials"][0]["score"] == min(
        line["metrics"]["meta_val/mse"] for line in history(tmp_path) if not line["failed"]
    )
    for name in ("search.png", "search.md", "best.yaml", "best.ckpt"):
        assert (found(tmp_path) / name).stat().st_size > 0
    (events,) = (
        EventAccumulator(str(file)).Reload() for file in list((found(tmp_path) / "trial_00000").glob("events*"))[:1]
    )
    assert "_hparams_/experiment" in str(events.summary_metadata.keys())
    run(tmp_path, [*TUNE[:3], "fit", "--config", str(found(tmp_path) / "best.yaml"), "--trainer.max_epochs", "1"])


def test_tune_from_python_gives_the_numbers_of_the_command(tmp_path: Path) -> None:
    for name in ("command", "python"):
        (tmp_path / name).mkdir()
    command = search(tmp_path / "command", 2, 4, trials=2, space={RATE: {"choice": [0.01, 0.1]}})
    run(tmp_path / "command", command)
    files = ["sinusoid-maml.yaml", str(tmp_path / "command/search.yaml")]
    program = f"import lightning_meta; found = lightning_meta.tune({files!r}, {{'search.trials': 2}})\n"
    program += "print('best', found.trials[0].score, found.tested[0].score.mean, found.checkpoint.is_file())"
    said = run(tmp_path / "python", [sys.executable, "-c", program]).splitlines()[-1]
    whole = report(tmp_path / "command")
    best, tested = whole["trials"][0]["score"], whole["meta_test"][0]["scores"]["mse"][0]
    assert said == f"best {best} {tested} True"


def test_a_population_of_agents_shares_its_episodes_at_test_and_lives_those_it_is_given(tmp_path: Path) -> None:
    envs = "model.learner.init_args.envs"
    config = {
        "search": {"cpus": 0.5, "trials": 4, "space": {RATE: {"loguniform": [0.01, 1]}, envs: {"choice": [1, 2, 3]}}},
        "data": {"init_args": {"meta_batch": 2, "epoch_batches": 2, "val_tasks": 4, "test_tasks": 4}},
        "model": {"learner": {"init_args": {"hidden": [4], "test_envs": 2}}},
        "trainer": {"max_epochs": 5, "accelerator": "cpu"},
    }
    config["data"]["init_args"]["world"] = {"init_args": {"horizon": 4}}
    command = [*TUNE[:4], "--config", "navigation.yaml", "--config", "maml_rl.yaml"]
    command += ["--config", "search/pbt_inner_lr_episodes.yaml", "--config", write_yaml(tmp_path / "s.yaml", config)]
    said = run(tmp_path, command)
    assert "is the best of 4 trials" in said
    assert said.count("meta_test:") == 1

    (folder,) = tmp_path.glob("runs/*/version_0")
    reports = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    lived = {0: {0.0}} | {
        e: {one["metrics"]["meta_train/steps"] for one in reports if one["epoch"] == e} for e in range(1, 6)
    }
    for one in reports:  # batches, tasks, episodes, steps, before and after the update: from where it or a donor stood
        steps = 2 * 2 * one["values"][envs] * 4 * 2
        assert one["metrics"]["meta_train/steps"] - steps in lived[one["epoch"] - 1]
    last = {one["trial"]: one["values"] for one in reports}
    first = {one["trial"]: one["values"] for one in reversed(reports)}
    assert last != first, "some took over another's"


def test_a_failed_trial_is_a_row_with_its_reason_and_two_workers_train_as_one(tmp_path: Path) -> None:
    space = {RATE: {"grid": [0.01, 1e3]}}
    ends = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        said = run(folder, search(folder, 2, trials=1, space=space, workers=workers))
        assert re.search(r"failed: (the (loss|gradient|largest weight)|meta_val/loss) is (nan|inf) at step \d+", said)
        first, second = report(folder)["trials"]
        assert (first["status"], second["checkpoint"]) == ("done", None)
        ends[workers] = weights(found(folder) / "best.ckpt")
    for name, weight in ends[1].items():
        torch.testing.assert_close(ends[2][name], weight, rtol=0, atol=1e-6)


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
        command = search(tmp_path, 20, 150, trials=1, space=space, cpus=1.0)
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
        assert {line["epoch"] for line in history(tmp_path) if line["trial"] == trial} == set(range(1, 21))
    assert [row["status"] for row in report(tmp_path)["trials"]] == ["done", "done"]
