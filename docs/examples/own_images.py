"""Own images, from folders to a classifier of new classes.   python own_images.py PHOTOS

PHOTOS has one sub-folder per class, with at least six images each.
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

from datamodules import ImageEpisodes, ShardSet, write_folder
from lightning_meta import ProtoNet
from lightning_meta.core import Episode, score
from lightning_meta.nn import Conv4
from lightning_meta.training import MetaTraining


def main(
    photos: Path, shards: Path = Path("shards/photos"), size: int = 84, epochs: int = 4, batches: int = 50
) -> float:
    """Write shards, meta-train, and return the accuracy on tasks of classes that were not trained on."""
    if not shards.exists():
        print(write_folder(photos, shards, size=size).summary())
    splits = ShardSet(str(shards)).index.splits
    ways = min(5, *(len(splits[name]) for name in ("train", "val", "test")))
    data = ImageEpisodes(
        str(shards), ways=ways, shots=1, queries=5, epoch_batches=batches, val_episodes=30, test_episodes=100
    )
    learner = ProtoNet(Conv4(in_channels=3, image_size=size))
    trainer = pl.Trainer(max_epochs=epochs, inference_mode=False)
    trainer.fit(MetaTraining(learner), datamodule=data)

    learner.eval()
    data.setup("test")
    accuracies = [accuracy(learner, episode) for episode in data.test_dataloader()]
    mean = torch.cat(accuracies).mean().item()
    print(f"{ways}-way 1-shot accuracy on classes that were not trained on: {100 * mean:.1f} %")
    return mean


@torch.no_grad()
def accuracy(learner: ProtoNet, episode: Episode) -> torch.Tensor:
    """Return the accuracy in each task of a meta-batch, [tasks]."""
    phi = learner.adapt(episode.support)
    return score(phi(episode.query.x), episode.query.y)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
