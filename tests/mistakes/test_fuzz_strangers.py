"""Hundreds of damaged and hostile files, read in a process that hears of every file, module, process and connection."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import PYTHONPATH, SUPPORT


@pytest.mark.parametrize(
    ("many", "seed"),
    [(60, 0), pytest.param(500, 1, marks=pytest.mark.slow), pytest.param(500, 2, marks=pytest.mark.slow)],
)
def test_a_file_of_a_stranger_is_read_or_refused_and_does_nothing_else(many: int, seed: int, tmp_path: Path) -> None:
    """evil_module would import: it is where Python looks."""
    (tmp_path / "evil_module.py").write_text(
        "import torch\nclass Net(torch.nn.Module): ...\ndef make() -> Net: return Net()\n"
    )
    path = os.pathsep.join([PYTHONPATH, str(tmp_path)])
    command = [
        sys.executable,
        str(SUPPORT / "fuzz_strangers.py"),
        str(many),
        str(many),
        str(seed),
        str(tmp_path / "files"),
    ]
    (tmp_path / "files").mkdir()
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["ends"]) == {"ok", "refused"}, done.stderr
    assert found["ends"]["refused"] > many  # more than half
    assert found["more"] == [], "written, imported, started or connected to"
    assert found["slowest"] < 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil_module.py", "files"]
