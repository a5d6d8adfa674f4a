"""A run knows its own folder: with any logger, several or none, its checkpoints, results and curves are where it is."""

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_meta.config.merge import run_name
from lightning_meta.evaluation.contestants import validation
from lightning_meta.training.run_folder import claim, home
from support.commands import SINES, Commands, line
from support.runs import curve, write_yaml

pytestmark = pytest.mark.usefixtures("recwarn", "no_type_checker")  # Lightning warns of what a short run is
REMOTE = "--trainer.logger remote_logger.RemoteLogger"
CSV = "--trainer.logger CSVLogger"
NAME = Path("runs/sinusoid-maml")


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


def trained(checkpoint: Path | str) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]


def test_runs_that_start_at_once_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: claim(tmp_path / "runs/name").path.name, range(40)))
    assert sorted(folders) == sorted(f"version_{i}" for i in range(40))


def test_a_folder_that_stays_empty_goes_again_and_one_with_files_stays(tmp_path: Path) -> None:
    empty, full = claim(tmp_path / "a" / "b"), claim(tmp_path / "c")
    full.keep_config("x: 1", 0)
    for folder in (empty, full):
        folder.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert full.config.read_text() == "x: 1"


TENSORBOARD, LIKE_WANDB = "pytorch_lightning.loggers.TensorBoardLogger", "remote_logger.RemoteLogger"


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ({"class_path": TENSORBOARD, "init_args": {"save_dir": "a", "name": "b"}}, "a/b"),
        ({"class_path": TENSORBOARD, "init_args": {"save_dir": "a", "name": "lightning_logs"}}, "a/names"),
        ({"class_path": TENSORBOARD, "init_args": {"save_dir": "a", "name": ""}}, "a"),
        ({"class_path": LIKE_WANDB, "init_args": {"project": "p", "save_dir": "."}}, "runs/names"),
        ({"class_path": LIKE_WANDB, "init_args": {"project": "p", "save_dir": "w"}}, "w/names"),
        ([{"class_path": LIKE_WANDB}, {"class_path": TENSORBOARD, "init_args": {"save_dir": "a"}}], "a/names"),
        (False, "runs/names"),
        (None, "runs/names"),
        ([], "runs/names"),
    ],
)
def test_where_runs_lie_is_told_by_the_configuration_alone(logger: Any, expected: str) -> None:
    assert home({"logger": logger, "default_root_dir": "runs/names"}) == Path(expected)


@pytest.mark.parametrize(
    "logger", ["", CSV, REMOTE, f"{REMOTE} --trainer.logger.save_dir=elsewhere", "--trainer.logger=false"]
)
def test_the_next_command_is_for_this_very_run_whatever_logs_it(logger: str, do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1 --seed_everything 1")  # an older run of the same name
    said = do(f"fit {SINES} --trainer.max_epochs 2 {logger}")
    folder = Path(line(said, "run"))
    assert said.count(str(folder / "checkpoints/best.ckpt")) == 2
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert trained(folder / "checkpoints/last.ckpt") == 6
    after = line(said, "next").removeprefix("lightning-meta ")
    before = sorted(Path().rglob("*.json"))
    do(after)
    (result,) = set(Path().rglob("*.json")) - set(before)
    assert result.parent == folder
    assert json.loads(result.read_text())["checkpoint"]["path"] == str(folder / "checkpoints/best.ckpt")
    assert "tensorboard" in said if not logger else "tensorboard" not in said


def test_last_goes_on_in_the_newest_run_of_its_name_with_every_logger(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    do(f"fit {SINES} --trainer.max_epochs 1 {REMOTE}")
    said = do(f"fit {SINES} --trainer.max_epochs 2 {REMOTE} --ckpt_path last")
    assert line(said, "run") == str(NAME / "version_1")
    assert [trained(NAME / f"version_{i}/checkpoints/last.ckpt") for i in (0, 1)] == [3, 6]
    said = do(f"fit {SINES} --trainer.max_epochs 3 --ckpt_path {NAME}/version_0")
    assert [trained(NAME / f"version_{i}/checkpoints/last.ckpt") for i in (0, 1)] == [9, 6]


def test_from_another_checkpoint_than_the_last_a_new_run_begins(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 2")
    old = NAME / "version_0/checkpoints"
    whole = {path: path.read_bytes() for path in old.iterdir()}
    shutil.copy(old / "last.ckpt", "kept.ckpt")
    said = do(f"fit {SINES} --trainer.max_epochs 3 --ckpt_path kept.ckpt")
    assert line(said, "run") == str(NAME / "version_1")
    assert {path: path.read_bytes() for path in old.iterdir()} == whole


@pytest.mark.slow
def test_a_job_that_is_started_again_goes_on_with_every_logger(do: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_META_RUN", "job-1")
    for logger in (REMOTE, f"[{{class_path: CSVLogger, init_args: {{save_dir: many}}}}, {REMOTE.split()[1]}]", "false"):
        logger = f'--trainer.logger "{logger.removeprefix("--trainer.logger ")}"'
        folder = Path(line(do(f"fit {SINES} --trainer.max_epochs 1 {logger}"), "run"))
        assert folder.name == "job-1"
        do(f"fit {SINES} --trainer.max_epochs 2 {logger}")
        assert trained(folder / "checkpoints/last.ckpt") == 6
        assert len(list(folder.parent.iterdir())) == 1
        assert [path.name for path in Path().rglob("remote/*")] in ([], ["job-1.txt"])
        shutil.rmtree(folder)


def test_a_job_does_not_go_on_with_a_run_of_another_configuration(
    do: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_META_RUN", "sines")
    do(f"fit {SINES} --trainer.max_epochs 1")
    whole = {path: path.read_bytes() for path in NAME.rglob("*") if path.is_file()}
    for other in ("--model.optimizer.init_args.lr 0.5", "--data.seed 7", "--model.optimizer SGD"):
        said = do.refused(f"fit {SINES} --trainer.max_epochs 1 {other}")
        assert f"{NAME}/sines holds a run of another configuration" in said
    assert {path: path.read_bytes() for path in NAME.rglob("*") if path.is_file()} == whole
    assert "this run is complete: max_epochs 1" in do(f"fit {SINES} --trainer.max_epochs 1")
    (NAME / "sines/checkpoints/last.ckpt").unlink()  # stopped before it had saved anything
    assert "another configuration" in do.refused(f"fit {SINES} --trainer.max_epochs 1 --data.seed 7")


def rows(folder: Path) -> list[dict[str, str]]:
    """Of all the metrics.csv there are."""
    return [row for file in sorted(folder.rglob("metrics.csv")) for row in csv.DictReader(file.open())]


def test_curves_survive_going_on_validating_and_testing(do: Commands) -> None:
    csv_there = f"{CSV} --trainer.logger.save_dir r"
    do(f"fit {SINES} --trainer.max_epochs 1 {csv_there}")
    do(f"fit {SINES} --trainer.max_epochs 2 {csv_there} --ckpt_path last")
    for command in ("validate", "test", "test"):
        do(f"{command} {SINES} {csv_there} --ckpt_path best")
    losses = [int(row["step"]) for row in rows(Path("r")) if row.get("meta_train/loss")]
    assert losses == [0, 1, 2, 3, 4, 5]
    curve_of = validation(Path("r/sinusoid-maml/version_0/checkpoints/best.ckpt"))
    assert [step for step, _ in curve_of if step] == [3, 6]
    assert sum(bool(row.get("meta_test/mse")) for row in rows(Path("r"))) == 2


def test_several_loggers_each_where_it_was_told(do: Commands) -> None:
    file = write_yaml(
        Path("two.yaml"),
        {"trainer": {"logger": [one(TENSORBOARD, "t"), one("pytorch_lightning.loggers.CSVLogger", "c")]}},
    )
    said = do(f"fit {SINES} --config {file} --trainer.max_epochs 1")
    folder = Path("t/sinusoid-maml-two/version_0")
    assert line(said, "run") == str(folder)
    assert list(curve(folder, "meta_train/loss")) == [0, 1, 2]
    assert len([row for row in rows(Path("c/sinusoid-maml-two/version_0")) if row["meta_train/loss"]]) == 3


def one(kind: str, save_dir: str) -> dict[str, Any]:
    return {"class_path": kind, "init_args": {"save_dir": save_dir}}


def test_callbacks_and_plugins_of_the_users_are_added_to_what_keeps_a_run_safe(do: Commands) -> None:
    callbacks = [
        {"class_path": "EarlyStopping", "init_args": {"monitor": "meta_val/error", "patience": 9}},
        {
            "class_path": "ModelCheckpoint",
            "init_args": {"monitor": "meta_val/error", "mode": "min", "filename": "{step}"},
        },
    ]
    plugins = [{"class_path": "lightning_fabric.plugins.environments.LightningEnvironment"}]
    file = write_yaml(Path("own.yaml"), {"trainer": {"callbacks": callbacks, "plugins": plugins}})
    said = do(f"fit {SINES} --config {file} --trainer.max_epochs 1")
    folder = Path(line(said, "run"), "checkpoints")
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt", "step=3.ckpt"}
    assert "best.ckpt" in line(said, "next")
    kept = torch.load(folder / "last.ckpt", weights_only=True)["callbacks"]
    assert kept["Cost"]["cpu_seconds"] > 0
    assert not list(folder.glob("*.partial*"))


def test_a_result_of_another_checkpoint_is_not_overwritten(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    for name in ("best", "last", "last"):
        do(f"test {SINES} --ckpt_path {name}")
    found = [json.loads(path.read_text())["checkpoint"]["path"] for path in sorted((NAME / "version_0").glob("*.json"))]
    assert sorted(Path(path).name for path in found) == ["best.ckpt", "last.ckpt"]


def test_results_of_a_checkpoint_of_no_run_lie_beside_it(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    Path("sent").mkdir()
    shutil.copy(NAME / "version_0/checkpoints/best.ckpt", "sent/model.ckpt")
    before = sorted(NAME.rglob("*"))
    do(f"test {SINES} --ckpt_path sent/model.ckpt")
    assert sorted(NAME.rglob("*")) == before
    assert json.loads(next(Path("sent/model").glob("meta_test*.json")).read_text())["checkpoint"]["steps"] == 3


def test_a_run_that_was_moved_keeps_its_best_checkpoint(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    Path("moved").mkdir()
    shutil.move(NAME / "version_0", "moved/run")
    best = Path("moved/run/checkpoints/best.ckpt").read_bytes()
    do(f"fit {SINES} --trainer.max_epochs 2 --ckpt_path moved/run --model.optimizer.init_args.lr 3")  # far worse
    assert trained("moved/run/checkpoints/last.ckpt") == 6
    assert Path("moved/run/checkpoints/best.ckpt").read_bytes() == best


def test_a_mistake_takes_no_version(do: Commands) -> None:
    do.refused(f"fit {SINES} --data.shots 0")
    assert not Path("runs").exists()


def test_a_run_of_many_configurations_has_a_name_that_a_file_system_takes() -> None:
    names = [f"{letter * 200}.yaml" for letter in "ab"]
    assert run_name(["a.yaml", "b.yaml"]) == "a-b"
    assert len(run_name(names)) == 200
    assert run_name(names) != run_name([names[0], f"{'b' * 199}.yaml"])
