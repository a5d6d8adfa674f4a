"""MetaRL: outer steps, counts and logs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from agents import Favourite
from datamodules.worlds import Worlds
from lightning_meta.core import InputError, MDPs
from lightning_meta.envs import Bandits
from lightning_meta.nn import GRU
from lightning_meta.rl import RL2
from lightning_meta.training import MetaRL
from lightning_meta.training.monitor import Throughput
from support.trainer import SILENT, of_lightning

pytestmark = of_lightning


class Pulled(Favourite):
    """An agent whose first logit is pulled from 0 towards 3: the gradient is -3, then smaller."""

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:  # noqa: ARG002
        for _ in range(self.steps):
            outer_step((self.start[0] - 3).square() / 2)
        return {"return": -self.start[0].detach(), "steps": torch.tensor(7.0)}


class Stepping(Pulled):
    """An agent that computes its outer step itself."""

    own_outer_step = True

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:  # noqa: ARG002
        outer_step(-(torch.tensor([0.25, 0.5, 0.0]) * self.start).sum())
        return {"return": torch.zeros(()), "steps": torch.tensor(7.0)}


def worlds(**options: Any) -> Worlds:
    return Worlds(Bandits(3, 4), **{"meta_batch": 4, "epoch_batches": 3, "val_tasks": 30, "test_tasks": 50} | options)


def fit(module: MetaRL, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(**SILENT | {"limit_val_batches": 0, "log_every_n_steps": 1} | options)
    trainer.fit(module, datamodule=worlds())
    return trainer


def test_each_step_is_one_of_the_optimiser_and_a_meta_batch_counts_once() -> None:
    agent = Pulled(0, 3, True, steps=2)
    module = MetaRL(agent, partial(SGD, lr=0.5), partial(StepLR, step_size=1, gamma=0.5))
    trainer = fit(module, callbacks=[Throughput()])
    start, rate = 0.0, 0.5
    for _ in range(3):  # meta-batches
        for _ in range(2):
            start += rate * (3 - start)
        rate *= 0.5
    assert agent.start.tolist() == pytest.approx([start, 0, 0])
    assert trainer.global_step == 3
    assert int(module.environment_steps) == 21
    logged = trainer.callback_metrics
    assert logged["meta_train/steps"] == 21
    assert logged["meta_train/gradient_norm"] > 0
    assert logged["speed/steps_per_second"] > 0


def test_parameters_outside_a_loss_stay_unchanged_under_momentum() -> None:
    agent = Pulled(0, 3, True)
    module = MetaRL(agent, partial(Adam, lr=0.1))
    fit(module)
    assert float(agent.weight.detach()) == pytest.approx(0.1)
    assert len(module.trainer.optimizers[0].state) == 1, "the optimiser has never seen it"


def test_a_long_gradient_is_shortened() -> None:
    agent = Pulled(0, 3, True, steps=1)
    fit(MetaRL(agent, partial(SGD, lr=1.0), clip=0.1))
    assert agent.start.tolist()[0] == pytest.approx(0.3)


def test_an_agent_may_step_by_itself() -> None:
    agent = Stepping(0, 3, True)
    fit(MetaRL(agent))
    assert agent.start.tolist() == pytest.approx([0.75, 1.5, 0])
    for wrong in ({"optimizer": Adam}, {"scheduler": partial(StepLR, step_size=1)}, {"clip": 1.0}):
        with pytest.raises(InputError, match=f"leave model.{next(iter(wrong))} out"):
            MetaRL(agent, **wrong)
    with pytest.raises(InputError, match="clip is 0"):
        MetaRL(Favourite(0, 3, True), clip=0.0)


@pytest.mark.parametrize("score", ["return", "total"])
def test_an_agent_is_scored_by_its_adapted_policy_or_by_the_whole_trial(score: Any) -> None:
    agent = Favourite(0, 3, True, updates=2)
    agent.score = score
    module, trainer = MetaRL(agent), pl.Trainer(**SILENT)
    trainer.test(module, datamodule=worlds(), verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    curve = [found[f"meta_test/updates/{k}"] for k in range(3)]
    assert found["meta_test/return"] == pytest.approx(curve[-1])
    assert found["meta_test/total"] == pytest.approx(sum(curve))
    assert found["meta_test/error"] == -found[f"meta_test/{score}"]
    (batch,) = worlds(meta_batch=50).test_dataloader()
    returns = agent.eval().returns(batch)[:, -1]
    assert found["meta_test/return_ci95"] == pytest.approx(float(1.96 * returns.std() / 50**0.5), rel=1e-5)


def test_a_memory_based_agent_has_a_curve_of_episodes() -> None:
    module, trainer = MetaRL(RL2(GRU(4), 0, 3, episodes=2)), pl.Trainer(**SILENT)
    (found,) = trainer.validate(module, datamodule=worlds(), verbose=False)
    assert found["meta_val/episode/2"] == found["meta_val/return"]
    assert found["meta_val/episode/1"] + found["meta_val/episode/2"] == pytest.approx(found["meta_val/total"])
    assert not any("updates" in name for name in found)


def test_a_control_without_updates_has_a_curve_of_updates() -> None:
    module, trainer = MetaRL(Favourite(0, 3, True, updates=0)), pl.Trainer(**SILENT)
    (found,) = trainer.validate(module, datamodule=worlds(), verbose=False)
    assert found["meta_val/updates/0"] == found["meta_val/return"] == found["meta_val/total"]
    assert not any("episode" in name for name in found)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_it_learns_in_any_precision(precision: Any) -> None:
    agent = Favourite(0, 3, True)
    module, trainer = MetaRL(agent, partial(Adam, lr=0.05)), pl.Trainer(**SILENT, precision=precision)
    data = worlds(meta_batch=50, epoch_batches=30, val_tasks=300)
    (before,) = trainer.validate(module, datamodule=data, verbose=False)
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["meta_val/return"] > before["meta_val/return"] + 0.2


class Exploding(Pulled):
    """Its gradient is infinite in the second meta-batch."""

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        scale = torch.tensor(torch.inf if self.met else 1.0)
        self.met += 1
        outer_step(scale * self.start.sum())
        return super().learn(mdps, outer_step)


def test_a_gradient_that_is_not_finite_ends_the_run() -> None:
    module = MetaRL(Exploding(0, 3, True))
    with pytest.raises(InputError, match="the gradient is nan at step 2: lower the learning rates"):
        fit(module)
    assert int(module.learner.met) == 2  # type: ignore[arg-type]  # a buffer


def test_a_schedule_that_waits_for_a_score_is_refused() -> None:
    with pytest.raises(InputError, match="ReduceLROnPlateau waits for a score"):
        fit(MetaRL(Pulled(0, 3, True), partial(SGD, lr=0.1), ReduceLROnPlateau))
