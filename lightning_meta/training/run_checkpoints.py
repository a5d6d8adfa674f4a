"""The checkpoints of a run: the best one and the last one."""

from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_meta.training.run_folder import RunFolder


class BestCheckpoint(ModelCheckpoint):
    """checkpoints/best.ckpt, of the least `meta_val/error`. In a run that continues in its folder, wherever that was moved to,
    a validation must be better than all before, to take its place."""

    def __init__(self, folder: RunFolder, goes_on: bool):
        super().__init__(folder.checkpoints, "best", monitor="meta_val/error", mode="min", enable_version_counter=False)
        self.goes_on = goes_on

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best score where the folder is called otherwise than it was."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath} if self.goes_on else state_dict)


class LastCheckpoint(ModelCheckpoint):
    """checkpoints/last.ckpt, every 500 steps and after each epoch."""

    def __init__(self, folder: RunFolder, within_epochs: bool):
        super().__init__(
            folder.checkpoints,
            "last",
            every_n_train_steps=500 if within_epochs else None,
            every_n_epochs=None if within_epochs else 1,
            save_on_train_epoch_end=not within_epochs,
            enable_version_counter=False,
        )
