"""Pretraining: phi is what torch's own SGD makes of a new head, or of the whole network; what it trains on is checked."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from datamodules.images import ImageEpisodes
from datamodules.sinusoid import Sinusoid
from lightning_meta.core import Episode, Examples, InputError, flat_batch
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.learners import MAML, Pretraining, ProtoNet
from lightning_meta.nn import MLP, Conv4
from lightning_meta.training import MetaTraining
from support import trainer
from support.episodes import separable_episode
from support.runs import lightning_meta, write_yaml

SGD: dict[str, Any] = {"inner_lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "test_steps": 20}


@pytest.fixture
def episode() -> Episode:
    support, query = separable_episode(tasks=3, ways=4, shots=3, queries=2, shape=(1, 16, 16))
    return Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))


class Cosine(nn.Module):
    """A cosine head, as a module that torch's SGD can train."""

    def __init__(self, start: Tensor, scale: float):
        super().__init__()
        self.w, self.scale = nn.Parameter(start), scale

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * torch.stack([F.cosine_similarity(z, w[None]) for w in self.w], dim=1)


def descend(module: nn.Module, x: Tensor, y: Tensor) -> None:
    optimizer = torch.optim.SGD(
        module.parameters(), lr=SGD["inner_lr"], momentum=SGD["momentum"], weight_decay=SGD["weight_decay"]
    )
    for _ in range(SGD["test_steps"]):
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("training_classes", [4, 9])
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_head_is_what_sgd_makes_of_a_new_one(head: Any, training_classes: int, episode: Episode) -> None:
    learner = Pretraining(MLP([256, 8]), training_classes, head, test_scale=3.0, **SGD).double()
    learner.eval()
    logits = learner.adapt(episode.support)(episode.query.x)
    backbone = learner.network.get_submodule("backbone")
    for task in range(3):
        with torch.no_grad():
            z, queries = backbone(episode.support.x[task]), backbone(episode.query.x[task])
        new: nn.Module = Cosine(z.mean(0).repeat(4, 1), 3.0) if head == "cosine" else nn.Linear(8, 4).double()
        if head == "linear":
            for w in new.parameters():
                nn.init.zeros_(w)
        descend(new, z, episode.support.y[task])
        assert_close(logits[task], new(queries))
    start = learner.adapt_steps(episode.support, 0)(episode.query.x)
    assert_close(start, start[..., :1].expand_as(start))  # no class is preferred
    assert float((logits - start).detach().abs().max()) > 0.1


@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_with_all_weights_phi_is_what_sgd_makes_of_the_network(vectorize: Any, episode: Episode) -> None:
    learner = Pretraining(Conv4(1, 16, 8), 7, finetune="all", vectorize=vectorize, **SGD).double().eval()
    logits = learner.adapt(episode.support)(episode.query.x)
    for task in range(3):
        network = (
            nn.Sequential(copy.deepcopy(learner.network.get_submodule("backbone")), nn.Linear(8, 4)).double().eval()
        )
        for w in network[1].parameters():
            nn.init.zeros_(w)
        descend(network, episode.support.x[task], episode.support.y[task])
        assert_close(logits[task], network(episode.query.x[task]))


def test_in_regression_the_network_descends_from_theta() -> None:
    learner = Pretraining(MLP([1, 8]), 1, finetune="all", inner_lr=0.02, momentum=0.0, weight_decay=0.0, test_steps=5)
    support = Examples(torch.randn(2, 6, 1), torch.randn(2, 6, 1))
    x = torch.randn(2, 4, 1)
    assert_close(learner.adapt_steps(support, 0)(x)[1], learner.network(x[1]))
    prediction = learner.adapt(support)(x)
    for task in range(2):
        network = copy.deepcopy(learner.network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
        for _ in range(5):
            optimizer.zero_grad()
            F.mse_loss(network(support.x[task]), support.y[task]).backward()
            optimizer.step()
        assert_close(prediction[task], network(x[task]))


def test_the_loss_is_that_of_ordinary_training() -> None:
    learner = Pretraining(MLP([4, 8]), 6)
    batch = Examples(torch.randn(3, 5, 4), torch.randint(6, (3, 5)))
    outcome = learner.loss(flat_batch(batch))
    assert_close(outcome.loss, F.cross_entropy(learner.network(batch.x.flatten(0, 1)), batch.y.flatten()))
    cosine = Pretraining(MLP([4, 8]), 6, "cosine", scale=7.0)
    z, w = cosine.network.get_submodule("backbone")(batch.x[0]), cosine.network.get_parameter("head.weight")
    logits = 7 * F.cosine_similarity(z[:, None], w[None], dim=-1)
    assert_close(cosine.loss(flat_batch(batch)).prediction[0], logits)


def test_a_task_adapts_without_a_graph_and_whatever_the_mode_of_autograd(episode: Episode) -> None:
    learner = Pretraining(Conv4(1, 16, 8), 7, **SGD).double().eval()
    logits = learner.adapt(episode.support)(episode.query.x)
    phi = learner.train().adapt(episode.support)
    assert not any(w.requires_grad for w in phi.weights.values())
    with torch.inference_mode():
        assert_close(learner.eval().adapt(episode.support)(episode.query.x), logits)


SILENT = trainer.SILENT | {"limit_val_batches": 0}


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*__len__")
@pytest.mark.parametrize(
    ("learner", "flat_batch", "message"),
    [
        (lambda: Pretraining(MLP([1, 8]), 1), 0, "Pretraining learns from flat batches .* set data.flat_batch to the"),
        (lambda: MAML(MLP([1, 8]), 1), 8, "MAML learns from episodes, but .* set data.flat_batch to 0"),
    ],
)
def test_batches_of_the_other_kind_are_refused(learner: Any, flat_batch: int, message: str) -> None:
    data = Sinusoid(epoch_batches=1, flat_batch=flat_batch)
    with pytest.raises(InputError, match=message):
        pl.Trainer(**SILENT).fit(MetaTraining(learner()), datamodule=data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "round"}, "head is 'round'; choose linear or cosine"),
        ({"finetune": "tail"}, "finetune is 'tail'; choose head or all"),
        ({"inner_lr": 0.0}, "inner_lr 0.0.* must be positive"),
        ({"momentum": 1.0}, "momentum 1.0 must be in"),
        ({"test_steps": -1}, "test_steps -1 0 or more"),
        ({"classes": 0}, "outputs is 0; it must be 1 or more"),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pretraining(**{"backbone": MLP([4, 8]), "classes": 3} | options)


def test_labels_and_targets_that_do_not_fit_are_refused() -> None:
    x = torch.randn(1, 4, 4)
    with pytest.raises(InputError, match="a label is 3, but the head is over 3 classes"):
        Pretraining(MLP([4, 8]), 3).loss(flat_batch(Examples(x, torch.tensor([[0, 1, 2, 3]]))))
    with pytest.raises(InputError, match=r"built for 3 target dimensions; these are 2"):
        Pretraining(MLP([4, 8]), 3).adapt(Examples(x, torch.randn(1, 4, 2)))
    with pytest.raises(InputError, match=r"a cosine head classifies.*regression"):
        Pretraining(MLP([4, 8]), 2, "cosine").adapt(Examples(x, torch.randn(1, 4, 2)))


def task(folder: Path, root: Path, name: str = "task.yaml", **data: Any) -> str:
    backbone = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [784, 16]}}
    args = {"root": str(root), "queries": 3, "epoch_batches": 20, "val_episodes": 8, "test_episodes": 8, **data}
    config = {
        "model": {"learner": {"init_args": {"backbone": backbone}}},
        "data": {"class_path": "datamodules.images.ImageEpisodes", "init_args": args},
        "trainer": {"max_epochs": 1, "enable_progress_bar": False},
    }
    return write_yaml(folder / name, config)


@pytest.mark.slow
def test_the_command_line_pretrains_and_tests_on_other_data(shard_root: Path, tmp_path: Path) -> None:
    """The head is as wide as the training split, 16, and stays so where the split of a test has fewer classes."""
    own = task(tmp_path, shard_root)
    done = lightning_meta(tmp_path, "fit", "--config", own, "--config", "baseline.yaml")
    assert done.returncode == 0, done.stderr
    (ckpt,) = tmp_path.glob("runs/*/version_0/checkpoints/last.ckpt")
    weights = torch.load(ckpt, weights_only=True)["state_dict"]
    assert weights["learner.network.head.weight"].shape == (16, 16)
    other = task(tmp_path, shard_root, "other.yaml", splits=["val", "val", "test"], ways=7)
    done = lightning_meta(tmp_path, "test", "--config", other, "--config", "baseline.yaml", "--ckpt_path", str(ckpt))
    assert done.returncode == 0, done.stderr
    assert "steps 100" in done.stdout


@pytest.mark.parametrize(
    ("learner", "flat_batch", "message"),
    [
        (lambda: ProtoNet(MLP([784, 8])), 8, "ProtoNet learns from episodes"),
        (lambda: Pretraining(MLP([784, 8]), 16), 0, "Pretraining learns from flat batches"),
        (
            lambda: Pretraining(MLP([784, 8]), 16, features=9),
            8,
            "Pretraining with MLP as configured cannot take a training step",
        ),
        (lambda: Pretraining(MLP([784, 8]), 4), 64, r"a label is \d+, but the head is over 4 classes"),
    ],
)
def test_what_does_not_fit_is_found_before_training(
    learner: Any, flat_batch: int, message: str, shard_root: Path
) -> None:
    data = ImageEpisodes(str(shard_root), queries=3, flat_batch=flat_batch)
    with pytest.raises(InputError, match=message):
        rehearse("fit", MetaTraining(learner()), data, pl.Trainer(**SILENT))


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*__len__")
def test_a_learner_with_nothing_to_train_is_refused(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), queries=3, epoch_batches=1)
    with pytest.raises(InputError, match="ProtoNet as configured has nothing to train"):
        pl.Trainer(**SILENT).fit(MetaTraining(ProtoNet(nn.Flatten())), datamodule=data)
