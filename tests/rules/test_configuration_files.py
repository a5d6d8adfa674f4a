"""Configuration files over one another: what a run is made of, whatever the files are called."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_meta.cli import main
from lightning_meta.config.listing import packaged, usage
from lightning_meta.config.merge import FOLDERS, PACKAGED, combine, merge, read, require, split_argv
from lightning_meta.core import InputError

RECIPES = sorted((PACKAGED / "recipes").glob("*.yaml"))


def content(names: list[Any]) -> dict[str, Any]:
    """The configuration but for the run's name, which is that of the files."""
    config = combine([str(name) for name in names])
    config["trainer"].pop("default_root_dir")
    config["trainer"]["logger"]["init_args"].pop("name")
    return config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_same_content_is_the_same_run_under_another_name(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(path.read_text())
    assert content([copy]) == content([path.name])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_parser_takes_a_recipe(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", path.name, "--print_config"])
    assert ended.value.code == 0
    assert "class_path" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["glyphs", "omniglot", "sinusoid"])
def test_the_name_of_a_task_file_chooses_no_settings(task: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text((PACKAGED / "tasks" / f"{task}.yaml").read_text())
    for learner in sorted((PACKAGED / "learners").glob("*.yaml")):
        assert content([copy, learner.name]) == content([f"{task}.yaml", learner.name])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_goes_over_the_files_that_it_includes(path: Path) -> None:
    own = read(path)
    task, learner = own.pop("include")
    assert path.name == f"{task.removesuffix('.yaml')}-{learner}"
    assert content([path.name]) == merge(content([task, learner]), own)


@pytest.mark.parametrize("task", ["glyphs", "omniglot"])
def test_packaged_learners_have_one_backbone_but_where_their_recipe_names_another(task: str) -> None:
    backbones = [
        content([f"{task}.yaml", learner.name])["model"]["learner"]["init_args"]["backbone"]
        for learner in sorted((PACKAGED / "learners").glob("*.yaml"))
    ]
    assert all(one == backbones[0] for one in backbones)


def test_a_file_includes_its_neighbours_before_packaged_ones(tmp_path: Path) -> None:
    (tmp_path / "maml.yaml").write_text("model: {learner: {init_args: {inner_lr: 7}}}")
    (tmp_path / "all.yaml").write_text("include: [sinusoid.yaml, maml.yaml]\ndata: {init_args: {shots: 3}}")
    config = content([tmp_path / "all.yaml"])
    assert config["model"]["learner"]["init_args"]["inner_lr"] == 7
    assert config["data"]["init_args"]["shots"] == 3
    assert config["data"]["class_path"] == "datamodules.sinusoid.Sinusoid"


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("nowhere.yaml", "give a list of configuration files"),
        ("[5]", "give a list of configuration files"),
        ("[nowhere.yaml]", "no configuration 'nowhere.yaml'"),
        ("[one.yaml]", "one.yaml includes itself"),
        ("[two.yaml]", "one.yaml includes itself: take it out of the `include` of"),
    ],
)
def test_a_wrong_include_is_told(include: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(f"include: {include}")
    (tmp_path / "two.yaml").write_text("include: [one.yaml]")
    with pytest.raises(InputError, match=re.escape(message)):
        combine([str(tmp_path / "one.yaml")])


def test_no_two_packaged_files_have_one_name() -> None:
    names = [path.name for folder in FOLDERS for path in (PACKAGED / folder).glob("*.yaml")]
    assert len(names) == len(set(names))
    assert all(isinstance(yaml.safe_load(path.read_text()), dict) for path in RECIPES)


def test_a_packaged_file_is_printed_as_it_is_and_a_use_of_it_beside(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "glyphs.yaml", "rl2.yaml"])
    printed = capsys.readouterr()
    assert (
        yaml.safe_load(printed.out.partition("\n# RL2")[0])["data"]["class_path"] == "datamodules.images.ImageEpisodes"
    )
    assert "use it: lightning-meta fit --config glyphs.yaml --config protonet.yaml\n" in printed.err
    with pytest.raises(SystemExit):
        main(["configs", "glyphs_maml"])
    assert "Did you mean glyphs-maml.yaml or " in capsys.readouterr().err


@pytest.mark.parametrize("file", [path for each in packaged().values() for path in each], ids=lambda path: path.stem)
def test_the_command_that_uses_a_packaged_file_has_a_task_and_a_learner_of_one_kind(file: Path) -> None:
    command = usage(file)
    assert command
    names, rest = split_argv(command.split()[2:])
    config = combine(names)
    require(config, rest)
    worlds = config["data"]["class_path"] == "datamodules.worlds.Worlds"
    assert config["model"]["learner"]["class_path"].startswith(f"lightning_meta.{'rl' if worlds else 'learners'}.")


def test_a_file_of_ones_own_has_no_packaged_use(tmp_path: Path) -> None:
    (tmp_path / "glyphs.yaml").write_text("seed_everything: 1\n")
    assert usage(tmp_path / "glyphs.yaml") is None
