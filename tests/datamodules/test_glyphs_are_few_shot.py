"""Glyphs are a real few-shot problem: neither pixels nor an untrained network solve it, a trained learner does."""

from pathlib import Path

import pytest
import torch
from torch import nn

from datamodules import write_glyphs
from datamodules.images import ImageEpisodes
from lightning_meta.core import score, to_floats
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4


def accuracy(learner: ProtoNet, data: ImageEpisodes) -> float:
    learner.eval()
    with torch.no_grad():
        scores = [score(learner.adapt(support)(query.x), query.y) for support, query in data.test_dataloader()]
    return float(torch.cat(scores).mean())


@pytest.mark.slow
def test_a_trained_learner_is_clearly_better_than_pixels_and_chance_features(tmp_path: Path) -> None:
    write_glyphs(tmp_path / "glyphs", classes=400)
    data = ImageEpisodes(
        str(tmp_path / "glyphs"), ways=5, queries=5, eval_queries=15, epoch_batches=400, test_episodes=100
    )
    pixels, untrained, learner = ProtoNet(nn.Flatten()), ProtoNet(Conv4()), ProtoNet(Conv4())
    for image in range(50):  # statistics of untrained features
        untrained.train().adapt(to_floats(data.stream("train").read(image)).support)
    optimizer = torch.optim.Adam(learner.parameters())
    for episode in data.train_dataloader():
        optimizer.zero_grad()
        learner.loss(episode).loss.backward()
        optimizer.step()
    trained = accuracy(learner, data)
    assert trained > 0.85
    assert accuracy(pixels, data) < trained - 0.2
    assert accuracy(untrained, data) < trained - 0.15
