"""A clear end for backbones, targets and labels that do not fit, before any training."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.testing import assert_close

from lightning_meta.cli import main
from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.evaluation.rehearsal import attempt
from lightning_meta.learners import MAML, MAMLPlusPlus, MetaSGD, ProtoNet, Reptile
from lightning_meta.nn.undisturbed import undisturbed
from support.episodes import separable_episode
from support.mistakes import ends_with_one_message
from support.packaged_learners import IMAGE, SPECS, make, regression
from support.packaged_learners import MLP as FLAT
from support.runs import GLYPHS, QUICK
from users_backbones import Lazy, Output, Own, Pair

MAML_ON = "fit --config glyphs.yaml --config maml.yaml --model.learner.init_args.backbone users_backbones"
PROTONET_ON = f"fit {GLYPHS} --model.learner.init_args.backbone users_backbones"
MISTAKES = {
    f"{PROTONET_ON}.Pair": ["Pair returns a tuple", "one tensor of features"],
    f"{MAML_ON}.Pair": ["Pair returns a tuple", "one tensor of features"],
    f"{MAML_ON}.Output": ["Output returns a dict of last_hidden_state, pooler_output", "wrap it"],
    f"{PROTONET_ON}.Map": ["Map maps", "[n, d]", "flatten"],
    f"{PROTONET_ON}.Lazy": ["Lazy has a lazy layer, linear (LazyLinear)", "before the learner is built"],
    f"{MAML_ON}.Lazy": ["Lazy has a lazy layer"],
    f"{PROTONET_ON}.Fails": ["ProtoNet with Fails", "KeyError", "no layer for"],
    f"{MAML_ON}.Fails": ["MAML with Fails", "KeyError"],
    f"{MAML_ON}.FailsInTraining": ["cannot take a training step", "IndexError", "FailsInTraining"],
    f"{MAML_ON}.Bag": ["MAML with Bag", "_embedding_bag", "choose first_order"],
    f"{MAML_ON}.Cell --model.learner.init_args.vectorize vmap": ["vmap cannot lift Cell", "set vectorize to loop"],
    f"{MAML_ON}.FunctionalNorm --model.learner.init_args.batch_stats running": [
        "keeps none",
        "support or transductive",
    ],
    f"{MAML_ON}.Own --model.learner.init_args.inner_lr -0.1": ["inner_lr is -0.1", "positive"],
    f"{MAML_ON}.Own --model.learner.init_args.inner_steps -1": ["inner_steps is -1"],
    f"{PROTONET_ON}.Own --model.learner.init_args.temperature -1": ["temperature is -1", "positive"],
    "fit --config glyphs.yaml --config r2d2.yaml --model.learner.init_args.scale 0": ["scale 0", "positive"],
}


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("command", MISTAKES)
def test_a_backbone_that_does_not_fit_ends_with_one_message(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    ends_with_one_message(command, MISTAKES[command], workplace, capfd)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("training", [True, False])
def test_no_query_at_all_is_answered_with_no_prediction(name: str, training: bool) -> None:
    for backbone in (FLAT, None):
        learner = make(name, *([backbone] if backbone else [])).train(training)
        support, query = separable_episode(3, 5, 2, 3, IMAGE)
        assert learner.adapt(support)(query.x[:, :0]).shape == (3, 0, 5)


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ("baseline", "baselinepp")])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_may_be_of_any_integer_type(name: str, dtype: torch.dtype) -> None:
    learner, batch = make(name, FLAT).eval(), separable_episode(2, 5, 2, 3, IMAGE)
    other = Episode(*(Examples(part.x, part.y.to(dtype)) for part in batch))
    assert_close(learner.loss(other).loss, learner.loss(batch).loss, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["maml", "cnp", "r2d2", "reptile", "baseline", "lstm"])
@pytest.mark.usefixtures("no_type_checker")
def test_targets_without_their_last_axis_are_named(name: str) -> None:
    learner, support = make(name, FLAT, outputs=1), regression(2, 10, 1)
    with pytest.raises(InputError, match=r"y is \[2, 10\].*\[tasks, n, d\]"):
        learner.adapt(Examples(support.x, support.y[..., 0]))
    if name not in ("baseline", "reptile"):  # which learn from flat batches, and from the support set alone
        with pytest.raises(InputError, match=r"y is \[2, 10\]"):
            learner.loss(Episode(support, Examples(support.x, support.y[..., 0])))


@pytest.mark.parametrize("name", ["protonet", "matching"])
def test_euclidean_distances_work_in_pure_bfloat16(name: str) -> None:
    options = {"distance": "euclidean"} if name == "protonet" else {"attention": "euclidean"}
    learner, batch = make(name, FLAT, **options).bfloat16(), separable_episode(2, 5, 2, 3, IMAGE)
    learner.loss(Episode(*(Examples(part.x.bfloat16(), part.y) for part in batch))).loss.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in learner.parameters() if w.requires_grad)


@pytest.mark.parametrize("kind", [MetaSGD, lambda *a, **k: MAMLPlusPlus(*a, **k, learn_inner_lr="layer"), MAMLPlusPlus])
def test_a_part_may_be_frozen_after_a_learner_of_inner_rates_was_built(kind: Any) -> None:
    learner = kind(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 8)), 3, features=8)
    learner.network.get_submodule("backbone.1").requires_grad_(False)
    batch = separable_episode(2, 3, 1, 1, (1, 6, 6))
    assert set(learner.adapt(batch.support).weights) == {
        "backbone.2.weight",
        "backbone.2.bias",
        "head.weight",
        "head.bias",
    }
    learner.loss(batch).loss.backward()
    assert len(learner.diagnostics()) == 6


def test_a_part_that_was_frozen_has_no_learned_rate() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(36, 8)).requires_grad_(False)
    learner = MetaSGD(backbone, 3, features=8)
    backbone.requires_grad_(True)
    with pytest.raises(InputError, match=r"backbone.1.weight has no learned inner rate"):
        learner.adapt(separable_episode(2, 3, 1, 1, (1, 6, 6)).support)


def test_pruned_weights_are_adapted() -> None:
    learner = MAML(Own(36), 3, vectorize="vmap")
    batch = separable_episode(2, 3, 2, 1, (1, 6, 6))
    prune.l1_unstructured(learner.network.get_submodule("backbone.linear"), "weight", amount=0.5)
    learner.loss(batch).loss.backward()
    prune.l1_unstructured(learner.network.get_submodule("backbone.linear"), "weight", amount=0.5)
    learner.loss(batch).loss.backward()


@pytest.mark.parametrize("backbone", [Pair, Output])
@pytest.mark.parametrize("learner", [ProtoNet, lambda b: MAML(b, 3), lambda b: Reptile(b, 3)])
def test_a_backbone_of_no_tensor_is_named(backbone: type[Own], learner: Callable[[nn.Module], Any]) -> None:
    with pytest.raises(InputError, match=f"{backbone.__name__} returns a"):
        learner(backbone(36)).adapt(separable_episode(2, 3, 1, 1, (1, 6, 6)).support)


def test_a_lazy_backbone_that_has_seen_a_batch_is_like_any_other() -> None:
    backbone = Lazy()
    backbone(torch.zeros(1, 36))
    MAML(backbone, 3).loss(separable_episode(2, 3, 1, 1, (1, 6, 6))).loss.backward()


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["OldWeightNorm", "Spectral", "Branches"])
def test_backbones_that_cannot_be_copied_or_lifted_train(
    kind: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    for learner in ("protonet", "maml") if kind == "OldWeightNorm" else ("maml",):
        command = (
            f"fit --config glyphs.yaml --config {learner}.yaml --data.root {workplace / 'shards' / 'glyphs'} {QUICK}"
        )
        main(shlex.split(f"{command} --model.learner.init_args.backbone users_backbones.{kind}"))
        assert (tmp_path / f"runs/glyphs-{learner}/version_0/checkpoints/last.ckpt").is_file()


class Writes(Own):
    """Keeps what it saw, counts, replaces a buffer and draws noise."""

    def __init__(self) -> None:
        super().__init__(36)
        self.register_buffer("last", torch.zeros(8))

    def after(self, z: Tensor) -> Tensor:
        self.seen, self.last = z, z[0].detach()
        return z + torch.randn_like(z)


@pytest.mark.parametrize("make_learner", [ProtoNet, lambda b: MAML(b, 3, vectorize="loop")])
def test_a_rehearsal_leaves_everything_as_it_was(make_learner: Callable[[nn.Module], Any]) -> None:
    learner = make_learner(Writes()).train()
    batch, backbone = (
        separable_episode(2, 3, 2, 1, (1, 6, 6)),
        learner.get_submodule("backbone" if isinstance(learner, ProtoNet) else "network.backbone"),
    )
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    luck = torch.get_rng_state()
    with undisturbed(learner):
        attempt("learn", learner, lambda e: learner.loss(e).loss.backward(), batch, graph=True)
        with torch.no_grad():
            for weight in learner.parameters():
                weight.add_(1)
    assert_close(learner.state_dict(), before, rtol=0, atol=0)
    assert all(weight.grad is None for weight in learner.parameters())
    assert backbone.training
    assert not hasattr(backbone, "seen")
    assert torch.equal(torch.get_rng_state(), luck)
