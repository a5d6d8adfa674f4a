"""Results as JSON files in the folder of a run."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule

from lightning_meta.core.files import check_writable, write_json
from lightning_meta.reports.results import Result
from lightning_meta.reports.tables import size_name
from lightning_meta.training.measurements import Stage
from lightning_meta.training.run_folder import unused
from lightning_meta.training.task_data import TaskData


def keep_result(folder: Path, result: Result) -> None:
    """Write a result as JSON. One of another checkpoint, or under another protocol, that has this name is kept beside it."""
    path, content = result_file(folder, result.stage, result.protocol), result.to_json()
    if path.is_file() and not is_of(path, content):
        path.replace(unused(path))
    write_json(path, content, indent=1)


def check_result(folder: Path, stage: Stage, data: LightningDataModule, split: str) -> None:
    """Raise InputError if the result of this evaluation could not be kept."""
    check_writable(result_file(folder, stage, data.protocol(split) if isinstance(data, TaskData) else {}))


def result_file(folder: Path, stage: Stage, protocol: dict[str, Any]) -> Path:
    """The JSON file of an evaluation, such as meta_test_5way_1shot.json."""
    return folder / f"{'_'.join(filter(None, (stage.file, size_name(protocol))))}.json"


def is_of(path: Path, content: dict[str, Any]) -> bool:
    """Return whether an earlier result, if this file is one, is of the same checkpoint under the same protocol."""
    try:
        earlier = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(earlier, dict) and all(earlier.get(key) == content[key] for key in ("checkpoint", "protocol"))
