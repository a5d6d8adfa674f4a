"""Three learners of different families, trained for the same steps and compared on the same episodes.

python compare_learners.py
"""

from pathlib import Path

import pytorch_lightning as pl

import lightning_meta
from datamodules import ImageEpisodes, write_glyphs
from lightning_meta import MAML, R2D2, ProtoNet
from lightning_meta.nn import Conv4
from lightning_meta.training import MetaTraining


def main(
    shards: Path = Path("shards/glyphs"), epochs: int = 2, batches: int = 200, episodes: int = 300
) -> dict[int, dict[str, float]]:
    """Write made-up handwriting, train each learner, and return the accuracy of each by shots."""
    if not shards.exists():
        print(write_glyphs(shards).summary())
    learners = {
        "ProtoNet": ProtoNet(Conv4(in_channels=1, image_size=28)),
        "R2-D2": R2D2(Conv4(in_channels=1, image_size=28)),
        "MAML": MAML(Conv4(in_channels=1, image_size=28, pool=False), outputs=5, inner_lr=0.4, test_steps=3),
    }
    for name, learner in learners.items():
        print(f"training {name}")
        data = ImageEpisodes(str(shards), ways=5, shots=1, queries=5, epoch_batches=batches, val_episodes=50)
        pl.Trainer(max_epochs=epochs, inference_mode=False).fit(MetaTraining(learner), datamodule=data)

    data = ImageEpisodes(str(shards), queries=15, test_episodes=episodes)
    comparison = lightning_meta.compare(list(learners.values()), data, ways=5, shots=[1, 5], names=list(learners))
    for round in comparison.rounds:
        for name, score in round.scored.items():
            print(f"{round.size}, {name}: {100 * score.mean:.2f} +- {100 * (score.ci95 or 0):.2f} %")
    return {round.shots: {name: score.mean for name, score in round.scored.items()} for round in comparison.rounds}


if __name__ == "__main__":
    main()
