"""Every command and configuration in the README and on the pages of the site parses; nothing is trained."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters.core.plugins import load_backend, load_backends
from clusters.core.profiles import read_profile
from lightning_meta.cli import COMMANDS, run
from lightning_meta.cli.jobs import jobs_parser
from lightning_meta.cli.submit import submit_parser
from lightning_meta.config.parser_errors import Complaining
from lightning_meta.core import InputError
from support.documents import DOCUMENTS, blocks, commands, words, write_files
from support.paths import ROOT

pytestmark = pytest.mark.usefixtures("recwarn")  # of Lightning's and jsonargparse's
LINES = [(document, line) for document in DOCUMENTS for line in dict.fromkeys(commands(document))]
PACKAGE = """
from torch import nn

class Net(nn.Flatten):
    out_features = 784

class MyBackbone(Net): ...
"""


class ParsedError(BaseException):
    """Ends a command once its arguments are parsed."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that documents take for granted, in which a command ends once it is parsed."""
    for name in ("mine", "mine-resnet18", "fonts", "caltech101", "omniglot-one-shot"):
        (tmp_path / "shards" / name).mkdir(parents=True)
        (tmp_path / "shards" / name / "task.yaml").write_text("include: [glyphs.yaml]\n")
    (tmp_path / "my_package.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parse_args = Complaining.parse_args

    def parse_and_end(self: Complaining, *args: Any, **kwargs: Any) -> Any:
        parse_args(self, *args, **kwargs)
        raise ParsedError

    monkeypatch.setattr(Complaining, "parse_args", parse_and_end)
    return tmp_path


def parse(arguments: list[str]) -> None:
    """Parse a command. Raises InputError if it has a key, value, file or class that does not exist."""
    name, *rest = arguments
    assert name in COMMANDS
    if name == "submit":
        own, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
        submit_parser(load_backends()[0]).parse_args(own)
        parse(command)
    elif name == "jobs":
        jobs_parser().parse_args(rest)
    elif name in ("configs", "completion"):
        run(name, rest)
    elif name == "doctor":
        assert set(rest) <= {"--json"}
    elif not (name == "demo" and not rest):
        with pytest.raises(ParsedError):
            run(name, rest)


@pytest.mark.parametrize(("document", "line"), LINES, ids=lambda part: part.stem if isinstance(part, Path) else part)
def test_a_documented_command_parses(document: Path, line: str, folder: Path) -> None:
    write_files(document, folder)
    parse([word for word in words(line) if word != "--print_config"])


WRONG = [
    "fit --config glyphs.yaml --config protonet.yaml --data.shotz 5",
    "fit --config glyphs.yaml --config protonet.yaml --trainer.max_epochs many",
    "tune --config omniglot-maml.yaml --config search/pbt_inner_lr_shots.yaml --search.trial 3",
    "test --config glyphs.yaml --config no_such_file.yaml --ckpt_path best",
    "compare a.ckpt --on shards/glyphs --episodez 5",
    "adapt --support SUPPORT --query QUERY",
    "shards write folder IMAGES --sizes 84",
    "jobs state ID",
    "submit slurm --node 2 -- fit --config omniglot-maml.yaml",
    "submit local -- fit --config omniglot-maml.yaml --data.shotz 5",
]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_does_not_parse(line: str) -> None:
    with pytest.raises(InputError):
        parse(line.split())


def test_commands_are_read_in_documents() -> None:
    read = {words(line)[0] for _, line in LINES}
    assert read >= {"fit", "test", "tune", "compare", "adapt", "shards", "submit", "jobs", "configs"}
    assert len(LINES) > 60


PROFILES = [
    (block.title.rpartition(" ")[2], block.text)
    for document in DOCUMENTS
    for block in blocks(document)
    if block.title.startswith("profiles.yaml for ")
]


@pytest.mark.parametrize(("backend", "text"), PROFILES, ids=lambda part: part.split("\n")[0])
def test_a_documented_profile_is_valid(
    backend: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.yaml").write_text(text)
    monkeypatch.setenv("LIGHTNING_META_PROFILES", str(tmp_path / "profiles.yaml"))
    for name in yaml.safe_load(text):
        assert read_profile(name, load_backend(backend))


BESIDE = {  # the files that a documented configuration is used with, by page
    "agent": ["bandits.yaml"],
    "backbone": [],
    "configuration": [],
    "images": ["glyphs.yaml", "protonet.yaml"],
    "learner": ["glyphs.yaml"],
    "sampling": ["protonet.yaml"],
    "search": ["sinusoid-maml.yaml"],
    "task-distribution": ["maml.yaml"],
    "world": ["rl2.yaml"],
}
CONFIGURATIONS = [
    (document, block.text)
    for document in DOCUMENTS
    for block in blocks(document)
    if block.language == "yaml" and (not block.title or block.title.endswith(".yaml"))
]


@pytest.mark.parametrize(
    ("document", "text"), CONFIGURATIONS, ids=lambda part: part.stem if isinstance(part, Path) else ""
)
def test_a_documented_configuration_parses(document: Path, text: str, folder: Path) -> None:
    if "torchvision" in text:
        pytest.importorskip("torchvision")
    write_files(document, folder)
    (folder / "documented.yaml").write_text(text)
    files = [*BESIDE[document.stem], "documented.yaml"]
    command = "tune" if "search:" in text else "fit"
    parse([command, *(part for file in files for part in ("--config", file))])


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_blocks_are_marked_with_their_language(document: Path) -> None:
    known = {"bash", "python", "yaml", "toml", "text"}
    assert {block.language for block in blocks(document)} <= known
    fences = len(re.findall(r"^```", document.read_text(), re.M))
    assert fences == 2 * len(blocks(document))
