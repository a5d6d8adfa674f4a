"""Arguments of a trainer that writes nothing, and warnings of Lightning's."""

from typing import Any

import pytest

SILENT: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "inference_mode": False,
    "max_epochs": 1,
}


of_lightning = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*__len__"
)
