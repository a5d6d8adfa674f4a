"""What a search shows while it runs, and the history that its report is made from."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lightning_meta.search.report import brief, in_a_line, objective, plain
from lightning_meta.search.space import Dimension, existing, short_names
from lightning_meta.search.storage import Reserve, append, mend, no_space, trouble

HISTORY = "history.jsonl"


class Narrator(Callback):
    """A line a trial: on a terminal one that moves while the trial runs, elsewhere a new one with each report.

    Appends every report to `history.jsonl` below `folder`: trial, values, metrics, seconds that the search has run for. If
    a disk is full, the search ends with an OSError, its state saved in the room of `reserve`; if a place is gone, without.
    """

    def __init__(self, folder: Path, space: list[Dimension], objectives: list[str], epochs: int, reserve: Reserve):
        self.history, self.space, self.objectives, self.epochs = folder / HISTORY, space, objectives, epochs
        self.names = short_names([one.key for one in space])
        self.reserve, self.trouble = reserve, ""
        self.began, self.best = time.time(), float("inf")
        self.display: Progress | None = None
        self.rows: dict[str, Any] = {}
        self.failed: dict[str, str | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"display": None, "rows": {}}  # a screen is not for saving

    def setup(self, *_: Any, **__: Any) -> None:
        mend(self.history)
        past = read_history(self.history.parent)
        self.began = time.time() - max((line["seconds"] for line in past), default=0)
        self.best = min((objective(line, self.objectives) for line in past if not line["failed"]), default=self.best)
        if Console().is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(12), MofNCompleteColumn(), TimeElapsedColumn()
            self.display = Progress(*columns)
            self.display.start()

    def on_trial_result(self, iteration: int, trials: Any, trial: Trial, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        failed = result.get("failed")
        values = existing(self.space, result["config"])  # trial.config may be the next one already
        if failed and self.failed.get(str(trial)) == failed:
            return  # it waits
        self.failed[str(trial)] = failed
        line = {
            "trial": str(trial),
            "seconds": round(time.time() - self.began, 3),
            "values": values,
            "checkpoint": result.get("checkpoint_dir_name"),
            "failed": failed,
            "metrics": {
                name: value for name, value in result.items() if name.startswith(("meta_", "speed/", "theta/"))
            },
            "epoch": result.get("epoch"),
            "step": result.get("step"),
        }
        try:
            append(self.history, json.dumps(line))
        except OSError as error:
            self.end(str(error))
            append(self.history, json.dumps(line))
        self.show(trial, values, result.get("epoch") or 0, f"failed: {failed}" if failed else self.judged(line))

    def judged(self, line: dict[str, Any]) -> str:
        score = objective(line, self.objectives)
        self.best = min(self.best, score)
        name = plain(self.objectives[0]) if len(self.objectives) == 1 else f"mean of {len(self.objectives)} objectives"
        return f"{name} {score:.4f}, best so far {self.best:.4f}"

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        self.mishap(trial, "goes on from its last checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        self.mishap(trial, "no retries left")

    def mishap(self, trial: Trial, then: str) -> None:
        """A trial's worker or node died. If a storage location is full or gone, the search ends: every retry would fail too."""
        assert trial.error_file  # written before Ray tells of the error
        why = in_a_line(Path(trial.error_file).read_text())
        if no_space(why) or trouble(self.reserve.places):
            self.end(f"{trial}: {why}")
        else:
            self.show(trial, trial.config, (trial.last_result or {}).get("epoch") or 0, f"died ({why}); {then}")

    def end(self, why: str) -> None:
        """Let Ray save the state of the search and stop."""
        self.trouble = trouble(self.reserve.places) or why
        self.reserve.give_back()
        signal.raise_signal(signal.SIGUSR1)  # its word for that

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        row = self.rows.pop(str(trial), None)
        if self.display and row is not None:
            self.display.stop_task(row)
            self.display.update(row, visible=False)

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:  # noqa: ARG002
        if self.display:
            self.display.stop()
        if self.trouble:
            raise OSError(self.trouble)

    def show(self, trial: Trial, values: dict[str, Any], epoch: int, said: str) -> None:
        shown = ", ".join(f"{self.names[key]} {brief(value)}" for key, value in existing(self.space, values).items())
        text = f"{trial}  {shown}  {said}"
        if not self.display:
            print(f"{text}  ({epoch}/{self.epochs})", flush=True)
            return
        if str(trial) not in self.rows:
            self.rows[str(trial)] = self.display.add_task("", total=self.epochs)
        self.display.update(self.rows[str(trial)], description=text, completed=epoch)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Every report so far, in order; a line cut short by a kill is left out."""
    path, found = folder / HISTORY, []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a line was cut short and is left out", file=sys.stderr)
    return found
