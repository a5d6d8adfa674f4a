"""Backbones and the parts that learners share: ordinary modules and functions of tensors, torch only."""

from lightning_meta.nn.backbones import MLP, Conv4, Pixels
from lightning_meta.nn.delta import DeltaNet
from lightning_meta.nn.frozen import Features, Frozen
from lightning_meta.nn.recurrent import GRU, LSTM
from lightning_meta.nn.resnet12 import ResNet12
from lightning_meta.nn.sequence import Memoryless, Transformer
from lightning_meta.nn.snail import SNAIL

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "SNAIL",
    "Conv4",
    "DeltaNet",
    "Features",
    "Frozen",
    "Memoryless",
    "Pixels",
    "ResNet12",
    "Transformer",
]
