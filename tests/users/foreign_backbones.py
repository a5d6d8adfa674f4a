"""Backbones of another library, as classes and functions."""

import os
import signal
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn


class Foreign(nn.Module):
    """A classifier as libraries ship them: convolution and batch norm, then a part to drop. It is killed at its class
    number `killed`, if a file of that name is there."""

    def __init__(self, channels: int = 3, killed: int = -1):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(channels, 6, 3, 2), nn.BatchNorm2d(6), nn.Linear(6, 10)
        self.killed, self.seen = killed, -1  # the first call is the constructor's of Frozen

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        if self.seen == self.killed and Path("kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(F.relu(self.norm(self.conv(x))).mean((2, 3)))


def foreign(channels: int = 3) -> Foreign:
    """A function in the place of a class, as in torchvision."""
    return Foreign(channels)


def no_module(channels: int = 3) -> int:
    return channels
