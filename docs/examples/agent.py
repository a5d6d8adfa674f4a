"""An agent that learns bandits within its memory, beside the Gittins index.   python agent.py"""

import pytorch_lightning as pl
import torch

from datamodules import Worlds
from lightning_meta.core import MDPs
from lightning_meta.envs import Bandits
from lightning_meta.nn import GRU
from lightning_meta.rl import PPO, RL2
from lightning_meta.rl.strategies.bandits import Gittins, Random
from lightning_meta.training import MetaRL

PULLS, ARMS = 10, 5


def main(epochs: int = 16, batches: int = 25, meta_batch: int = 1024, test_tasks: int = 4000) -> dict[str, float]:
    """Train RL2, and return the mean reward of a trial of each policy on the same test tasks."""
    world = Bandits(ARMS, PULLS)
    data = Worlds(world, meta_batch, epoch_batches=batches, val_tasks=1000, test_tasks=test_tasks)
    agent = RL2(GRU(width=48), world.observations, world.actions, objective=PPO(minibatches=8), gae_lambda=0.7)
    module = MetaRL(agent, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.003))
    pl.Trainer(max_epochs=epochs, inference_mode=False).fit(module, datamodule=data)

    agent.eval()
    data.setup("test")
    totals: dict[str, list[torch.Tensor]] = {"random": [], "Gittins index": [], "RL2": []}
    for mdps in data.test_dataloader():
        totals["random"].append(total(mdps, Random(mdps)))
        totals["Gittins index"].append(total(mdps, Gittins(mdps, PULLS, gamma=1.0)))
        totals["RL2"].append(agent.returns(mdps).sum(1))
    means = {name: torch.cat(each).mean().item() for name, each in totals.items()}
    print(", ".join(f"{name}: {mean:.2f}" for name, mean in means.items()), f"of {PULLS}")
    return means


def total(mdps: MDPs, policy: Random | Gittins) -> torch.Tensor:
    """Return the reward of a trial in each task, [tasks]."""
    trajectory, _ = mdps.rollout(policy)
    return trajectory.returns().sum((1, 2))


if __name__ == "__main__":
    main()
