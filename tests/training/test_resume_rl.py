"""An agent's run that was cut off amid an epoch goes on, to the bit, as the one that was not: weights, replay, optimiser."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.testing import assert_close

from datamodules.worlds import Worlds
from lightning_meta.training import MetaRL
from support.packaged_agents import KNOWN, every_agent, make, remembers, world
from support.trainer import SILENT, of_lightning

pytestmark = [
    of_lightning,
    pytest.mark.filterwarnings(
        "ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using `ckpt_path`"
    ),
]
LAST, SAVED = 5, 2  # meta-batches, of epochs of three


def run(name: str, save: Path | None = None, resume: Path | None = None) -> list[Tensor]:
    """All that remains of LAST meta-batches; after SAVED of them a checkpoint is written into `save`."""
    agent = make(name)
    module = MetaRL(agent, **({} if agent.own_outer_step else {"optimizer": partial(torch.optim.Adam, lr=0.01)}))
    data = Worlds(world(name), meta_batch=8, epoch_batches=3, train_tasks=KNOWN if remembers(name) else None)
    keep = [ModelCheckpoint(save, "{step}", every_n_train_steps=SAVED, save_top_k=-1)] if save else []
    options = SILENT | {"enable_checkpointing": bool(save), "max_epochs": 9, "limit_val_batches": 0}
    trainer = pl.Trainer(**options, max_steps=LAST, callbacks=keep)
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    assert trainer.global_step == LAST
    return tensors([agent.state_dict(), trainer.optimizers[0].state_dict(), module.environment_steps])


def tensors(found: Any) -> list[Tensor]:
    """All there are in it, in order."""
    if isinstance(found, Tensor):
        return [found]
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, (list, tuple)) else []
    return [tensor for part in parts for tensor in tensors(part)]


@every_agent
def test_a_resumed_run_continues_with_the_next_meta_batch(name: str, tmp_path: Path) -> None:
    whole = run(name, tmp_path)
    again = run(name, resume=tmp_path / f"step={SAVED}.ckpt")
    assert len(whole) > len(list(make(name).parameters()))
    assert_close(again, whole, rtol=0, atol=0)


def test_the_content_of_a_checkpoint_matters(tmp_path: Path) -> None:
    """So that the test above can fail: another replay leads elsewhere."""
    whole = run("pearl", tmp_path)
    path = tmp_path / f"step={SAVED}.ckpt"
    state = torch.load(path, weights_only=False)
    state["state_dict"]["learner.replay._extra_state"]["trajectories"].zero_()
    torch.save(state, path)
    with pytest.raises(AssertionError):
        assert_close(run("pearl", resume=path), whole, rtol=0, atol=0)
