"""A data module of Lightning's, as a user may have it already."""

from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules import EpisodeSize, EpisodeStream, SinusoidTasks


class Plain(LightningDataModule):
    """Episodes in a data module that knows nothing of this package."""

    def loader(self, episodes: int) -> DataLoader[Any]:
        stream = EpisodeStream(SinusoidTasks(), "train", EpisodeSize(1, 5, 5), episodes, meta_batch=4)
        return DataLoader(stream, batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(8)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(4)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(4)
