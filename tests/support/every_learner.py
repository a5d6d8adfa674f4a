"""Meta-trains and meta-tests every learner on one or more processes:  python every_learner.py DEVICES SHARDS OUT

Writes to OUT, by run, the final theta (running statistics included) and the meta-test scores.
"""

import sys
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from datamodules.images import ImageEpisodes
from datamodules.sampling.configured_size import ConfiguredSize
from lightning_meta.core import FewShotLearner
from lightning_meta.training import MetaTraining
from lightning_meta.training.checkpoint import build
from support.packaged_learners import SPECS, spec, takes

BACKBONE = {"class_path": "lightning_meta.nn.Conv4", "init_args": {"width": 8}}
RUNS: dict[str, dict[str, Any]] = {name: {"name": name} for name in SPECS}
# Its large first gradients make a max-pooling of float32 choose another pixel where two nearly tie.
RUNS["baselinepp"] = {"name": "baselinepp", "precision": "64-true"}
# In bfloat16 a loop computes each task alone, for one batch of all rounds by how many there are, 8 bits or not. One step: in
# the next a weight that differs in its last bit of float32 may be rounded to another of bfloat16.
RUNS["maml in bfloat16"] = {"name": "maml", "precision": "bf16-mixed", "vectorize": "loop", "meta_batches": 1}
# Tasks of 1 to 3 shots in one meta-batch, so that a process has sizes which the other has not.
RUNS["protonet, tasks of different sizes"] = {"name": "protonet", "shots": (1, 3)}
RUNS["fomaml, tasks of different sizes"] = {"name": "fomaml", "shots": (1, 3)}


def make(name: str, **changes: Any) -> FewShotLearner:
    torch.manual_seed(0)
    flat = {"outputs": 16} if takes(name, "classes") else {}  # the classes of the training split
    return build(spec(name, BACKBONE, **flat, **changes))


def train(
    devices: int,
    shards: str,
    name: str,
    precision: Any = "64-true",
    meta_batches: int = 5,
    shots: Any = 1,
    **changes: Any,
) -> dict[str, Any]:
    """Two epochs of so many meta-batches; of one, where there is but one."""
    learner = make(name, **changes)
    module = MetaTraining(learner, partial(torch.optim.SGD, lr=0.1))
    flat_batch = 6 if learner.flat else 0
    data = ImageEpisodes(
        shards,
        shots=shots,
        queries=3,
        meta_batch=4,
        epoch_batches=meta_batches,
        test_episodes=8,
        flat_batch=flat_batch,
        sampler=None if isinstance(shots, int) else ConfiguredSize(),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=precision,
        max_epochs=min(2, meta_batches),
        limit_val_batches=0,
        inference_mode=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    cost = ("/seconds/", "/memory/")  # a run's own
    scores = {name: v for name, v in trainer.callback_metrics.items() if not any(part in name for part in cost)}
    return {"theta": dict(learner.state_dict()), "scores": scores}


def main(devices: int, shards: str, out: str) -> None:
    results = {run: train(devices, shards, **options) for run, options in RUNS.items()}
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(results, out)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
