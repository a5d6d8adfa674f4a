"""Meta-trains and meta-tests every agent on one or more processes:  python every_agent.py DEVICES OUT

Writes to OUT, by agent, the final theta (buffers included), the environment steps and the meta-test returns.
"""

import sys
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from agents import Favourite
from datamodules.worlds import Worlds
from lightning_meta.core import MetaRLLearner, World
from lightning_meta.envs import Bandits
from lightning_meta.training import MetaRL
from support.packaged_agents import KNOWN, MODELS, make, remembers, world

RUNS = (*MODELS, "favourite")


def start(name: str) -> tuple[MetaRLLearner, World]:
    return (Favourite(0, 3, True), Bandits(3, 4)) if name == "favourite" else (make(name), world(name))


def train(devices: int, name: str) -> dict[str, Any]:
    agent, where = start(name)
    outer = {} if agent.own_outer_step else {"optimizer": partial(torch.optim.SGD, lr=0.1), "clip": 1.0}
    module = MetaRL(agent, **outer)
    known = KNOWN if name in MODELS and remembers(name) else None
    data = Worlds(where, meta_batch=16, epoch_batches=2, train_tasks=known, test_tasks=8)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision="64-true",
        max_epochs=2,
        limit_val_batches=0,
        inference_mode=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    scores = {name: value for name, value in trainer.callback_metrics.items() if "/memory/" not in name}
    theta = {name: w for name, w in agent.state_dict().items() if isinstance(w, torch.Tensor)}
    return {"theta": theta, "scores": scores, "steps": module.environment_steps}


def main(devices: int, out: str) -> None:
    results = {run: train(devices, run) for run in RUNS}
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(results, out)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
