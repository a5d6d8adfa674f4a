"""Every Python block in the README and on the pages of the site runs, and the examples of `write your own` train."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules import Preprocess
from lightning_meta.core import Episode, Examples
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4
from support.documents import DOCUMENTS, SITE, blocks, commands, write_files
from support.runs import run

pytestmark = pytest.mark.usefixtures("recwarn")  # of Lightning's and jsonargparse's

CONV4 = {"class_path": "lightning_meta.nn.Conv4", "init_args": {"in_channels": 1, "image_size": 28}}
PROTONET = {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": CONV4}}


def python_blocks(slow: bool) -> list[Any]:
    """Return the Python blocks that are not files, each as a test parameter."""
    return [
        pytest.param(document, block.text, id=f"{document.stem}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(blocks(document))
        if block.language == "python" and not block.title and block.slow == slow
    ]


def names(document: Path) -> dict[str, Any]:
    """Return what the blocks of a document take for granted."""
    x, y = torch.rand(1, 6, 1, 28, 28), torch.tensor([[0, 2, 1, 1, 2, 0]])
    if document.stem == "README":
        episode = Episode(Examples(x, y), Examples(x, y))
        return {"learner": ProtoNet(Conv4(in_channels=1, image_size=28)), "episode": episode}
    return {"x": x, "y": y, "images": torch.rand(1, 4, 1, 28, 28)} if document.stem == "images" else {}


def execute(document: Path, text: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    variables = names(document)
    exec(compile(text, str(document), "exec"), variables)
    return variables


@pytest.mark.parametrize(("document", "text"), python_blocks(slow=False))
def test_a_documented_block_runs(document: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "best.ckpt" in text:
        weights = {f"learner.{name}": value for name, value in ProtoNet(Conv4(1, 28)).state_dict().items()}
        data = {"preprocess": Preprocess(28, 1)._asdict()}
        content = {"state_dict": weights, "hyper_parameters": {"learner": PROTONET}, "ImageEpisodes": data}
        torch.save(content, tmp_path / "best.ckpt")
        for name in ("support/a", "support/b", "query"):
            (tmp_path / "try" / name).mkdir(parents=True)
            Image.new("L", (40, 30), len(name) * 9).save(tmp_path / "try" / name / "0.png")
        (tmp_path / "my_package.py").write_text("")
        text = text if "import load" in text else f"from lightning_meta import load\n{text}"
    variables = execute(document, text, monkeypatch, tmp_path)
    if "probabilities" in text:
        torch.testing.assert_close(variables["probabilities"].sum(-1), torch.ones(1, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("document", "text"), python_blocks(slow=True))
def test_a_long_documented_block_runs(
    document: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(
        document,
        text.replace("max_epochs=5", "max_epochs=1, limit_train_batches=20, limit_val_batches=5"),
        monkeypatch,
        tmp_path,
    )


TRAINER = "--trainer.accelerator cpu --trainer.enable_progress_bar false"
TRAINING = f"{TRAINER} --trainer.max_epochs 1 --trainer.log_every_n_steps 1 --data.epoch_batches 2"
EPISODES = "--data.meta_batch 2 --data.val_episodes 4 --data.test_episodes 4"
TRIALS = "--data.meta_batch 8 --data.val_tasks 4 --data.test_tasks 4"
PAGES = {
    "learner": EPISODES,
    "task-distribution": EPISODES,
    "backbone": EPISODES,
    "world": TRIALS,
    "agent": TRIALS,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_what_a_reader_writes_trains_and_is_tested(
    page: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = SITE / "write" / f"{page}.md"
    write_files(document, tmp_path)
    (tmp_path / "shards").symlink_to(workplace / "shards")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = [line.removeprefix("lightning-meta ") for line in commands(document)]
    fit = next(line for line in lines if line.startswith("fit "))
    run(tmp_path, f"{fit} {TRAINING} {PAGES[page]}")
    for line in lines:
        if line.startswith("test "):
            run(tmp_path, f"{line} {TRAINER} {PAGES[page]}")
            assert list(tmp_path.glob("runs/*/version_0/meta_test*.json"))


@pytest.mark.slow
def test_the_documented_agent_learns_to_prefer_the_better_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_meta.core import MDPs
    from lightning_meta.envs import Bandits

    write_files(SITE / "write" / "agent.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import counting  # pyright: ignore[reportMissingImports]

    agent = counting.CountingAgent(actions=5, greediness=1.0)
    outer = torch.optim.Adam(agent.parameters(), lr=0.1)

    def outer_step(loss: torch.Tensor) -> None:
        outer.zero_grad()
        loss.backward()
        outer.step()

    def tasks(first: int, n: int) -> MDPs:
        seeds = torch.arange(first, first + n)
        return MDPs(Bandits(5, 10), seeds, seeds)

    before = agent.returns(tasks(100_000, 2000)).mean()
    for step in range(60):
        agent.learn(tasks(200 * step, 200), outer_step)
    after = agent.returns(tasks(100_000, 2000)).mean()
    assert after > before + 0.3, (before, after)
