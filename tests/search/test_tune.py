"""Results of searches as a user runs them: populations, failed trials, several workers, and the same from Python."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support.runs import curve, write_yaml
from support.searches import LR, RATE, SHOTS, TUNE, found, history, report, run, search, weights

pytestmark = pytest.mark.ray


def test_a_population_begun_at_bad_rates_finds_its_way(tmp_path: Path) -> None:
    bad = [{RATE: rate} for rate in (1e-4, 1e3, 1e-3, 0.02)]
    space = {RATE: {"loguniform": [1e-4, 1e3]}, LR: {"loguniform": [1e-4, 1e-2]}, SHOTS: {"choice": [2, 5, 10]}}
    scheduler = {"class_path": "ray.tune.schedulers.PopulationBasedTraining", "init_args": {"resample_probability": 0}}
    said = run(tmp_path, search(tmp_path, 4, 60, trials=4, start=bad, space=space, scheduler=scheduler))
    assert "is the best of 4 trials" in said
    assert said.count("meta_test:") == 2, "at each of the shots of validation"

    reports = [line for line in history(tmp_path) if line["trial"] == "trial_00001"]
    assert "nan" in reports[0]["failed"]
    later = [line for line in reports[1:] if not line["failed"]]
    assert later, "it was given the weights of a better one"
    assert later[0]["values"][RATE] < 1
    assert later[0]["epoch"] > 1
    assert {line["epoch"] for line in history(tmp_path) if line["trial"] == later[-1]["trial"]} >= {4}

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
