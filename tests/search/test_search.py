"""Spaces, algorithms, and a run that goes on under another configuration: what of a search needs no cluster."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pandas
import pytest
from pyarrow.fs import copy_files
from ray.tune import Checkpoint

from lightning_meta.cli import main
from lightning_meta.core import InputError
from lightning_meta.search.algorithms import make_scheduler, make_searcher
from lightning_meta.search.options import Search
from lightning_meta.search.space import Dimension, dimension, full_key, settle, short_names
from lightning_meta.search.storage import filesystem, in_place

pytestmark = pytest.mark.usefixtures("recwarn")  # of Lightning's and jsonargparse's

RATE, LR, SHOTS = "model.learner.init_args.inner_lr", "model.optimizer.init_args.lr", "data.init_args.shots"
PB2 = "ray.tune.schedulers.pb2.PB2"
TUNE = "tune --config sinusoid-maml.yaml --config search/random_inner_lr_shots.yaml"
AGENTS = "--config navigation.yaml --config maml_rl.yaml --config search/pbt_inner_lr_episodes.yaml --data.meta_batch 2"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (3, "give one of uniform"),
        ({"loguniform": [0.1, 1], "choice": [1]}, "give one of uniform"),
        ({"normal": [0, 1]}, "give one of uniform"),
        ({"uniform": [1, 0]}, "low < high"),
        ({"uniform": ["a", "b"]}, "numbers"),
        ({"randint": [0.5, 2]}, "whole numbers"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"choice": []}, "give a list"),
    ],
)
def test_a_dimension_that_is_none_says_what_is_legal(spec: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"{RATE}.*{said}"):
        dimension(RATE, spec)


def test_ranges_hold_both_ends() -> None:
    drawn = {dimension("k", {"randint": [1, 3]}).domain().sample() for _ in range(100)}
    assert drawn == {1, 2, 3}
    assert {dimension("k", {"lograndint": [1, 2]}).domain().sample() for _ in range(100)} == {1, 2}


def test_keys_are_found_as_on_the_command_line_and_shown_as_short_as_they_are_unique() -> None:
    config = {"data": {"class_path": "a.B", "init_args": {"shots": 1}}, "model": {"lr": 1}}
    assert full_key(config, "data.shots") == full_key(config, "data.init_args.shots") == "data.init_args.shots"
    assert full_key(config, "data.shot") is None
    assert full_key(config, "model.lr.x") is None
    assert settle(config, {"data.init_args.shots": 5})["data"]["init_args"]["shots"] == 5
    assert config["data"]["init_args"]["shots"] == 1
    assert short_names(["a.lr", "b.lr", "b.shots"]) == {"a.lr": "a.lr", "b.lr": "b.lr", "b.shots": "shots"}


def options(**given: Any) -> Search:
    return Search(**{"space": {RATE: {"loguniform": [0.01, 1]}}, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scheduler": {"class_path": "ray.tune.schedulers.PBT"}}, "no TrialScheduler"),
        ({"scheduler": {"init_args": {}}}, "give a class_path"),
        (
            {
                "scheduler": {
                    "class_path": "ray.tune.schedulers.PopulationBasedTraining",
                    "init_args": {"perturbation_every": 1},
                }
            },
            "no argument 'perturbation_every'. Did you mean perturbation_interval",
        ),
        (
            {
                "scheduler": {
                    "class_path": "ray.tune.schedulers.PopulationBasedTraining",
                    "init_args": {"quantile_fraction": 2},
                }
            },
            "quantile",
        ),
        ({"scheduler": {"class_path": PB2}, "space": {SHOTS: {"choice": [1, 5]}}}, "PB2 changes ranges alone"),
        ({"searcher": {"class_path": "ray.tune.search.optuna.Optuna"}}, "no Searcher"),
        ({"start": [{"model.lr": 1}]}, "not in search.space"),
        ({"trials": 0}, "search.trials is 0"),
        ({"workers": 2, "gpus": 0.5}, "whole GPUs"),
        ({"cpus": 0.0}, "some room"),
    ],
)
def test_options_that_cannot_be_say_why(given: dict[str, Any], said: str) -> None:
    def make() -> None:
        one = options(**given)
        space = [dimension(key, spec) for key, spec in one.space.items()]
        make_scheduler(one, space, epochs=3)
        make_searcher(one, space)

    with pytest.raises(InputError, match=said):
        make()


def test_a_population_stays_within_its_ranges_and_goes_to_neighbours_in_lists() -> None:
    space = [Dimension(RATE, "loguniform", [0.01, 1.0]), Dimension(SHOTS, "choice", [1, 2, 5, 10])]
    pbt = {"class_path": "ray.tune.schedulers.PopulationBasedTraining", "init_args": {"resample_probability": 0}}
    scheduler: Any = make_scheduler(options(scheduler=pbt), space, epochs=3)
    for _ in range(50):
        values, _ = scheduler._get_new_config(None, _Donor({RATE: 1.0, SHOTS: 2}))
        assert values[RATE] in (0.8, 1.0)
        assert values[SHOTS] in (1, 5)


class _Donor:
    def __init__(self, config: dict[str, Any]):
        self.config = config

    def __str__(self) -> str:
        return "donor"


def test_pb2_proposes_within_the_ranges_and_keeps_whole_numbers_whole() -> None:
    pytest.importorskip("sklearn")
    space = [Dimension(RATE, "uniform", [0.01, 1.0]), Dimension(SHOTS, "randint", [1, 10])]
    scheduler: Any = make_scheduler(options(scheduler={"class_path": PB2}), space, epochs=3)
    seen = [("donor", 0.2, 5, [-3, -2, -1.5]), ("other", 0.9, 2, [-3, -2.9, -2.8])]
    scheduler.data = pandas.DataFrame(
        [(trial, i, rate, shots, reward) for trial, rate, shots, rewards in seen for i, reward in enumerate(rewards)],
        columns=["Trial", "Time", RATE, SHOTS, "Reward"],
    )
    values, _ = scheduler._get_new_config("other", _Donor({RATE: 0.2, SHOTS: 5}))
    assert 0.01 <= values[RATE] <= 1
    assert values[RATE] != 0.2
    assert type(values[SHOTS]) is int
    assert 1 <= values[SHOTS] <= 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--config sinusoid-maml.yaml", "no search is given"),
        (f"{TUNE[5:]} --ckpt_path x.ckpt", "takes no --ckpt_path"),
        (f"{TUNE[5:]} --resume", "no search below"),
        (
            f"{TUNE[5:]} --search.space '{{model.learner.init_args.inner_rl: {{uniform: [0, 1]}}}}'",
            "Did you mean inner_lr",
        ),
        (f"{TUNE[5:]} --search.space '{{data.shots: {{choice: [1, 0]}}}}'", "with data.init_args.shots 0: shots is 0"),
        (f"{TUNE[5:]} --search.space '{{data.shots: {{choice: [1, many]}}}}'", "data.init_args.shots many: .* is many"),
        (
            f"{TUNE[5:]} --search.space '{{data.shots: {{choice: [1, 5]}}}}' --data.val_shots null",
            "other meta-validation tasks",
        ),
        (f"{TUNE[5:]} --search.space '{{data.seed: {{choice: [1, 5]}}}}'", "other meta-validation tasks"),
        (f"{AGENTS} --model.learner.init_args.test_envs null", "envs 5 .* other meta-validation .* by test_updates"),
        (
            "--config bandits.yaml --config rl2.yaml --search.space"
            " '{model.learner.init_args.episodes: {choice: [1, 2]}}'",
            "test_episodes",
        ),
        (
            "--config bandits.yaml --config rl2.yaml --search.space"
            " '{model.learner.init_args.entropy_weight: {choice: [0.1, 0.2]}}' --search.workers 2 --data.meta_batch 8",
            "4 tasks per process cannot be split into 8 minibatches",
        ),
        (
            f"{TUNE[5:]} --search.space '{{model.learner.backbone.sizes: {{choice: [[1, 8], [1, 9]]}}}}'"
            " --search.scheduler.class_path ray.tune.schedulers.PopulationBasedTraining",
            "backbone.init_args.sizes changes the weights",
        ),
        (
            f"{TUNE[5:]} --search.objective meta_val/acuracy",
            "choose from meta_val/error, meta_val/loss, meta_val/shots/1/error",
        ),
        (
            f"{TUNE[5:]} --model.scheduler torch.optim.lr_scheduler.ExponentialLR --model.scheduler.gamma -1",
            "ExponentialLR makes the outer learning rate -",
        ),
        (f"{TUNE[5:]} --search.trails 3", "no key 'trails'. Did you mean trials"),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_what_is_wrong_is_said_before_a_cluster_starts(
    arguments: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["tune", *shlex.split(arguments)])
    assert end.value.code == 2
    assert re.search(said, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_storage_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    state, staged, files = tmp_path / "kept/state.json", tmp_path / "staged", filesystem(str(tmp_path))
    staged.mkdir()
    state.parent.mkdir()
    (staged / state.name).write_text("old")
    copy_files(str(staged), str(state.parent), destination_filesystem=files)  # as Ray does
    kill = f"""
        import os, signal
        from lightning_meta.search.storage import filesystem, in_place
        stream = filesystem({str(tmp_path)!r}).open_output_stream({str(state)!r})
        stream.write(b"n" * 10**6)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", dedent(kill)], check=False).returncode == -signal.SIGKILL
    assert state.read_text() == "old"
    (staged / state.name).write_text("new")
    copy_files(str(staged), str(state.parent), destination_filesystem=files)
    assert [file.read_text() for file in state.parent.iterdir()] == ["new"]


def test_a_checkpoint_of_this_machine_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_000003").mkdir()
    found = in_place(Checkpoint(str(tmp_path / "checkpoint_000003"), filesystem(str(tmp_path))))
    assert found is not None
    with found.as_directory() as folder:
        assert folder == str(tmp_path / "checkpoint_000003")
    assert in_place(None) is None


def test_a_checkpoint_that_a_saved_state_may_name_outlives_a_killed_driver(tmp_path: Path) -> None:
    """Ray replaces a checkpoint first and saves the state that names the new one later."""
    old, state = tmp_path / "checkpoint_000003", tmp_path / "experiment_state-2026.json"
    (old / "weights").mkdir(parents=True)
    filesystem(str(tmp_path)).delete_dir(str(old))  # type: ignore[union-attr]  # as Ray does
    there = []
    for _ in range(2):
        there.append(old.is_dir())
        with filesystem(str(tmp_path)).open_output_stream(str(state)) as stream:  # type: ignore[union-attr]
            stream.write(b"{}")
    assert there == [True, True]
    assert not old.exists()
