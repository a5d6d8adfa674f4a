"""Searches that choose between classes: backbones, optimisers and learners, and keys that exist under some choice alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml

from lightning_meta.core import InputError
from lightning_meta.search.algorithms import make_scheduler, propose
from lightning_meta.search.choices import opened, point
from lightning_meta.search.names import named
from lightning_meta.search.options import Search
from lightning_meta.search.space import Dimension, configured, dimension, existing, short_names
from support.runs import lightning_meta, run, write_yaml

OPTIMIZER, BACKBONE = "model.optimizer", "model.learner.init_args.backbone"
SGD = {
    "class_path": "torch.optim.SGD",
    "init_args": {"lr": {"loguniform": [0.01, 0.1]}, "momentum": {"uniform": [0, 0.9]}},
}
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": {"loguniform": [0.0001, 0.01]}}}
SPACE = {OPTIMIZER: {"choice": [SGD, ADAM]}}
LR, MOMENTUM, OTHER_LR = (f"{OPTIMIZER}.init_args.{end}" for end in ("lr (SGD)", "momentum (SGD)", "lr (Adam)"))
PBT = {"class_path": "ray.tune.schedulers.PopulationBasedTraining", "init_args": {"quantile_fraction": 0.5}}


def mlp(*sizes: int) -> dict[str, Any]:
    return {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": list(sizes)}}


def space() -> list[Dimension]:
    return opened(dimension(OPTIMIZER, SPACE[OPTIMIZER]))


def test_what_is_chosen_from_has_short_names_that_tell_it_apart() -> None:
    values = [mlp(1, 8), mlp(1, 40, 40), ADAM, None, "torch.optim.SGD", 3, [1, 2]]
    names, meant = named(values)
    assert names == ["MLP(sizes=[1, 8])", "MLP(sizes=[1, 40, 40])", "Adam", None, "SGD", 3, "[1, 2]"]
    assert meant["SGD"] == {"class_path": "torch.optim.SGD"}
    assert meant["[1, 2]"] == [1, 2]
    twice, meant = named([mlp(1, 8), mlp(1, 8)])
    assert len(meant) == len(set(twice)) == 2


def test_a_range_inside_a_choice_is_a_key_of_its_own_that_exists_only_there() -> None:
    assert [one.key for one in space()] == [OPTIMIZER, LR, MOMENTUM, OTHER_LR]
    names = short_names([one.key for one in space()])
    assert list(names.values()) == ["optimizer", "lr (SGD)", "momentum (SGD)", "lr (Adam)"]
    drawn = {OPTIMIZER: "Adam", LR: 0.05, MOMENTUM: 0.5, OTHER_LR: 0.001}
    assert existing(space(), drawn) == {OPTIMIZER: "Adam", OTHER_LR: 0.001}
    config = {"model": {"optimizer": {"class_path": "x.Y", "init_args": {"z": 1}}}}
    for chosen, args in (("Adam", {"lr": 0.001}), ("SGD", {"lr": 0.05, "momentum": 0.5})):
        found = configured(config, space(), drawn | {OPTIMIZER: chosen})["model"]["optimizer"]
        assert found == {"class_path": f"torch.optim.{chosen}", "init_args": args}
    assert SGD["init_args"]["lr"] == {"loguniform": [0.01, 0.1]}, "the space is as it was"


def test_choices_inside_choices() -> None:
    learner = {
        "class_path": "lightning_meta.learners.MAML",
        "init_args": {"backbone": {"choice": [mlp(1, 8), mlp(1, 9)]}},
    }
    other = {"class_path": "lightning_meta.learners.CNP", "init_args": {"width": {"randint": [4, 8]}}}
    found = opened(dimension("model.learner", {"choice": [learner, other]}))
    backbone, width = f"{BACKBONE} (MAML)", "model.learner.init_args.width (CNP)"
    assert [one.key for one in found] == ["model.learner", backbone, width]
    at = configured(
        {"model": {"learner": {}}}, found, {"model.learner": "MAML", backbone: "MLP(sizes=[1, 9])", width: 5}
    )
    assert at["model"]["learner"]["init_args"] == {"backbone": mlp(1, 9)}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({OPTIMIZER: "SGD"}, {OPTIMIZER: "SGD"}),
        ({OPTIMIZER: "torch.optim.Adam", f"{OPTIMIZER}.lr": 0.002}, {OPTIMIZER: "Adam", OTHER_LR: 0.002}),
        ({f"{OPTIMIZER}.init_args.momentum": 0.5, OPTIMIZER: "SGD"}, {OPTIMIZER: "SGD", MOMENTUM: 0.5}),
        (
            {OPTIMIZER: {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.02, "momentum": 0.5}}},
            {OPTIMIZER: "SGD", LR: 0.02, MOMENTUM: 0.5},
        ),
    ],
)
def test_a_start_is_given_as_one_would_write_it(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert point(space(), given) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({OPTIMIZER: "Adamm"}, "choose from SGD, Adam"),
        ({f"{OPTIMIZER}.momentum": 0.5}, "exists only under some choice of model.optimizer"),
        ({OPTIMIZER: "Adam", f"{OPTIMIZER}.momentum": 0.5}, "exists only under some choice"),
        ({OPTIMIZER: "SGD", f"{OPTIMIZER}.momentum": 5}, "within 0 and 0.9"),
        ({OPTIMIZER: "SGD", f"{OPTIMIZER}.nesterov": True}, "not in search.space"),
    ],
)
def test_a_start_outside_of_the_space_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        point(space(), given)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"grid": [SGD, ADAM]}, "write choice, not grid"),
        ({"choice": [{"class_path": "x.Y", "init_args": {"sizes": [1, {"choice": [3, 4]}]}}]}, "range inside a list"),
        ({"choice": [{"class_path": "x.Y", "init_args": {"lr": {"uniform": [1, 0]}}}]}, "low < high"),
    ],
)
def test_a_space_inside_a_choice_is_checked_like_any_other(spec: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(dimension(OPTIMIZER, spec))


def test_optuna_is_asked_for_the_keys_that_exist_and_no_others() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        propose(trial, space())
        seen.add(frozenset(trial.params))
        assert existing(space(), trial.params) == trial.params
    assert seen == {frozenset({OPTIMIZER, LR, MOMENTUM}), frozenset({OPTIMIZER, OTHER_LR})}


def test_a_member_of_a_population_keeps_its_class_until_it_takes_over_another_member() -> None:
    scheduler: Any = make_scheduler(Search(space=SPACE, scheduler=PBT), space(), epochs=3)

    donor = SimpleNamespace(config={OPTIMIZER: "SGD", LR: 0.05, MOMENTUM: 0.5, OTHER_LR: 0.001})
    found = [scheduler._get_new_config(None, donor)[0] for _ in range(50)]
    assert {one[OPTIMIZER] for one in found} == {"SGD"}, "the state of the optimiser is the donor's too"
    assert len({one[LR] for one in found}) > 1
    assert all(0 <= one[MOMENTUM] <= 0.9 for one in found)


def search(folder: Path, config: dict[str, Any], **options: Any) -> str:
    """The arguments of a search, small and on one core, below `folder`."""
    data = {"val_shots": [3, 5], "epoch_batches": 5, "meta_batch": 4, "val_episodes": 8, "test_episodes": 12}
    base = {
        "search": {"cpus": 0.5, **options},
        "data": {"init_args": data},
        "trainer": {"max_epochs": 2, "log_every_n_steps": 1, "accelerator": "cpu"},
    }
    return " --config ".join(["", *config, write_yaml(folder / "search.yaml", base)])


def ends(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the search that ran below `folder`, and its reports."""
    (found,) = folder.glob("runs/*/version_0/history.jsonl")
    return found.parent, [json.loads(line) for line in found.read_text().splitlines()]


def takes_best(folder: Path, found: Path) -> str:
    """`fit` takes the winner's configuration as it is."""
    return run(folder, f"fit --config {found / 'best.yaml'} --trainer.max_epochs 1 --trainer.enable_progress_bar false")


@pytest.mark.ray
def test_a_search_over_optimisers_whose_keys_differ(tmp_path: Path) -> None:
    start = [{OPTIMIZER: "SGD", f"{OPTIMIZER}.momentum": 0.5}, {OPTIMIZER: "torch.optim.Adam"}]
    searcher = {"class_path": "ray.tune.search.optuna.OptunaSearch"}
    command = search(tmp_path, ["sinusoid-maml.yaml"], trials=3, space=SPACE, start=start, searcher=searcher)
    said = run(tmp_path, f"tune {command}")
    found, reports = ends(tmp_path)
    heads, *rows = [line.split() for line in said.splitlines() if line.startswith("trial")][
        -5:-1
    ]  # the last says which is best
    assert heads[:8] == ["trial", "optimizer", "lr", "(SGD)", "momentum", "(SGD)", "lr", "(Adam)"]
    for _, chosen, lr, momentum, other_lr, *_ in rows:
        assert ((lr, momentum) == ("-", "-")) == (chosen == "Adam") == (other_lr != "-")
    assert {frozenset(one["values"]) for one in reports} == {
        frozenset({OPTIMIZER, LR, MOMENTUM}),
        frozenset({OPTIMIZER, OTHER_LR}),
    }
    assert (found / "search.png").stat().st_size > 0
    takes_best(tmp_path, found)
    again = run(tmp_path, f"tune {command} --resume")
    assert "is the best of 3 trials" in again
    assert ends(tmp_path)[1] == reports, "nothing was left to train"


@pytest.mark.ray
def test_a_population_whose_members_have_other_optimisers(tmp_path: Path) -> None:
    start = [{OPTIMIZER: "SGD"}, {OPTIMIZER: "Adam"}]
    run(
        tmp_path,
        f"tune {search(tmp_path, ['sinusoid-maml.yaml'], trials=2, space=SPACE, start=start, scheduler=PBT)}",
    )
    found, reports = ends(tmp_path)
    assert not any(one["failed"] for one in reports)
    optimizers = [[one["values"][OPTIMIZER] for one in reports if one["trial"] == f"trial_0000{i}"] for i in (0, 1)]
    assert [each[0] for each in optimizers] == ["SGD", "Adam"]
    takes_best(tmp_path, found)


@pytest.mark.ray
def test_a_search_over_backbones_that_some_trials_end_early(tmp_path: Path) -> None:
    chosen = {BACKBONE: {"choice": [mlp(1, 40, 40), mlp(1, 8)]}}
    asha = {"class_path": "ray.tune.schedulers.AsyncHyperBandScheduler", "init_args": {"reduction_factor": 2}}
    start = [{BACKBONE: "MLP(sizes=[1, 8])"}, {BACKBONE: mlp(1, 40, 40)}]
    command = search(
        tmp_path, ["sinusoid-maml.yaml"], trials=4, space=chosen, start=start, scheduler=asha, concurrent=1
    )
    said = run(tmp_path, f"tune {command}")
    assert "MLP(sizes=[1, 40, 40])" in said
    found, reports = ends(tmp_path)
    trials = json.loads((found / "search.json").read_text())["trials"]
    for row in trials:
        last = max(one["epoch"] for one in reports if one["trial"] == row["trial"])
        assert row["status"] == ("done" if last == 2 else "stopped")
    assert {row["status"] for row in trials} == {"done", "stopped"}
    winner = trials[0]["values"][BACKBONE]
    best = yaml.safe_load((found / "best.yaml").read_text())["model"]["learner"]["init_args"]["backbone"]
    assert f"MLP(sizes={best['init_args']['sizes']})" == winner
    takes_best(tmp_path, found)


@pytest.mark.ray
def test_a_search_over_learners_scores_all_on_the_same_episodes(tmp_path: Path) -> None:
    run(tmp_path, "shards write glyphs --classes 100 --drawings 20 --out shards/glyphs")
    conv = {"class_path": "lightning_meta.nn.Conv4", "init_args": {"in_channels": 1, "image_size": 28, "width": 4}}
    learners = [
        {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": conv}},
        {
            "class_path": "lightning_meta.learners.MAML",
            "init_args": {"backbone": conv, "inner_lr": {"loguniform": [0.01, 1]}},
        },
    ]
    start = [{"model.learner": "ProtoNet"}, {"model.learner": "MAML"}]
    space = {"model.learner": {"choice": learners}}
    command = search(tmp_path, ["glyphs.yaml", "protonet.yaml"], trials=2, space=space, start=start)
    said = run(tmp_path, f"tune {command}")
    assert "is the best of 2 trials; 4 validations, all on the same episodes" in said
    found, reports = ends(tmp_path)
    assert {one["values"]["model.learner"] for one in reports} == {"ProtoNet", "MAML"}
    takes_best(tmp_path, found)
    alone = lightning_meta(
        tmp_path, "validate", "--config", str(found / "best.yaml"), "--ckpt_path", str(found / "best.ckpt")
    )
    assert alone.returncode == 0, alone.stderr
    best = json.loads((found / "search.json").read_text())["trials"][0]
    assert f"{100 * best['score']:.2f} %" in alone.stdout, "alone it has the score that it had in the search"
