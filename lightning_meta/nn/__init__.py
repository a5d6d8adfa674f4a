"""Backbones and the parts that learners share: ordinary modules and functions of tensors, torch only."""

from lightning_meta.nn.backbones import MLP, Conv4
from lightning_meta.nn.frozen import Features, Frozen
from lightning_meta.nn.resnet12 import ResNet12

__all__ = ["MLP", "Conv4", "Features", "Frozen", "ResNet12"]
