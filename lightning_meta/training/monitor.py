"""The speed of training, and its cost."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_meta.core import MDPs, MetaBatch, count_tasks, equal_parts


class Throughput(Callback):
    """Logs `speed/episodes_per_second` over all devices (of flat batches `speed/examples_per_second`, of decision
    processes `speed/steps_per_second`), and `speed/waiting`, the share of time spent on the loader."""

    def __init__(self) -> None:
        self.last, self.started, self.paused, self.waited, self.count = 0.0, 0.0, 0.0, 0.0, 0.0

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        self.last = self.started = time.perf_counter()
        self.waited, self.count = 0.0, 0.0

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.waited += time.perf_counter() - self.last

    def on_validation_start(self, *_: Any, **__: Any) -> None:
        self.paused = time.perf_counter()

    def on_validation_end(self, *_: Any, **__: Any) -> None:
        pause = time.perf_counter() - self.paused
        self.last, self.started = self.last + pause, self.started + pause

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MetaBatch | MDPs,
        batch_idx: int,  # noqa: ARG002  Lightning's signature
    ) -> None:
        unit, count = counted(batch, outputs, trainer.world_size)
        self.count += count
        now = time.perf_counter()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            elapsed = now - self.started
            pl_module.log_dict(
                {f"speed/{unit}_per_second": self.count / elapsed, "speed/waiting": self.waited / elapsed}
            )
            self.started, self.waited, self.count = now, 0.0, 0.0
        self.last = time.perf_counter()


def counted(batch: MetaBatch | MDPs, outputs: Any, processes: int) -> tuple[str, float]:
    """Return the unit in which a training batch is counted, and the count over all processes."""
    if isinstance(batch, MDPs):
        return "steps", float(outputs["steps"])
    if (first := equal_parts(batch)[0]).is_flat:
        return "examples", float(first.query.x.shape[:2].numel() * processes)
    return "episodes", float(count_tasks(batch) * processes)


class Cost(Callback):
    """The cost of training so far: wall-clock time and CPU time of this process, both in seconds. Checkpoints carry
    it, so that a resumed run continues the count."""

    def __init__(self) -> None:
        self.before, self.started = (0.0, 0.0), (0.0, 0.0)

    def on_fit_start(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """Seconds, and seconds of CPU."""
        wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return self.before[0] + wall, self.before[1] + cpu

    def state_dict(self) -> dict[str, float]:
        return dict(zip(("seconds", "cpu_seconds"), self.spent(), strict=True))

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.before = state_dict["seconds"], state_dict["cpu_seconds"]
