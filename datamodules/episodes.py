"""Episodes of any task distribution, which a configuration names by its class."""

from collections.abc import Sequence

from datamodules.episode_data import EpisodeData
from datamodules.sampling.episode_size import EpisodeSize, Range
from datamodules.sampling.episodes import Tasks
from datamodules.world_settings import Settings, digest


class Episodes(EpisodeData):
    """Episodes of a task distribution of your own.

    See `datamodules.Tasks` for how to write one, with a complete example.

    Args:
        tasks: The task distribution: a subclass of `datamodules.Tasks`, with its arguments.
        ways: Classes per training episode, a number or a range [first, last]. Regression ignores it.
        shots: Support examples per class in a training episode, a number or a range; of the whole task in regression.
        queries: Query examples per class in a training episode, a number or a range; of the whole task in regression.
        eval_ways: Classes per validation or test episode; by default as in training.
        eval_shots: Support examples per class in validation and test; by default as in training.
        eval_queries: Query examples per class in validation and test; by default as in training.
        meta_batch: Tasks per meta-batch, over all devices.
        epoch_batches: Meta-batches per epoch.
        val_episodes: Episodes per validation.
        test_episodes: Episodes of the test.
        splits: Names of the meta-train, meta-validation and meta-test splits.
        seed: Seed of the sequence of episodes, including the fixed ones of validation and test.
        num_workers: Processes that load data beside the training process.
        flat_batch: Examples per flat batch, for pretraining; 0 for episodes.
        val_shots: Validate at each of these numbers of shots, with `val_episodes` episodes each, and score by the mean.
    """

    def __init__(
        self,
        tasks: Tasks,
        ways: Range = 1,
        shots: Range = 10,
        queries: Range = 10,
        eval_ways: Range | None = None,
        eval_shots: Range | None = None,
        eval_queries: Range | None = None,
        meta_batch: int = 25,
        epoch_batches: int = 500,
        val_episodes: int = 600,
        test_episodes: int = 600,
        splits: tuple[str, str, str] = ("train", "val", "test"),
        seed: int = 0,
        num_workers: int = 0,
        flat_batch: int = 0,
        val_shots: Sequence[int] | None = None,
    ):
        train = EpisodeSize(ways, shots, queries)
        super().__init__(
            train=train,
            evaluation=train.replaced(eval_ways, eval_shots, eval_queries),
            splits=splits,
            meta_batch=meta_batch,
            epoch_batches=epoch_batches,
            val_episodes=val_episodes,
            test_episodes=test_episodes,
            seed=seed,
            num_workers=num_workers,
            flat_batch=flat_batch,
            val_shots=val_shots,
        )
        self.given, self.described = tasks, describe(tasks)

    @property
    def outputs(self) -> int:
        """The dimensions of a regression target, as a first task shows them, or the largest number of ways in training."""
        return self.target_dimensions("train") or self.sizes["train"].largest()[0]

    @property
    def source(self) -> str:
        return self.described

    def open(self) -> Tasks:
        return self.given


def describe(tasks: Tasks) -> str:
    """Return the name of a task distribution and its settings, such as `Lines(steepest=2.0)`.

    A setting that is not a plain number, text or truth value is named by a digest of its content.
    """
    state = Settings(getattr(tasks, "__dict__", {})).value
    shown = {
        name: repr(value) if isinstance(value, bool | int | float | str | None) else digest(repr(value).encode())
        for name, value in state.items()
    }
    return f"{type(tasks).__name__}({', '.join(f'{name}={value}' for name, value in shown.items())})"
