"""`lightning-meta doctor`: what it says of broken installations, and its exit status. Each case is a process of its own."""

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lightning_meta.machine.finding import Finding, size_text
from lightning_meta.machine.memory import group_limit
from lightning_meta.machine.packages import EXTRAS, fits, package, requirements
from lightning_meta.machine.places import data, room
from support.paths import ROOT
from support.runs import lightning_meta

ABSENT = """
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import Distribution, PackageNotFoundError

class Absent(MetaPathFinder):
    def find_spec(self, fullname, *_):
        if fullname.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Absent())
found = Distribution.from_name.__func__

def from_name(kind, name):
    if name == "torch":
        raise PackageNotFoundError(name)
    return found(kind, name)

Distribution.from_name = classmethod(from_name)
"""


def doctor(folder: Path, status: int, files: dict[str, str] | None = None, **environment: str) -> dict[str, Finding]:
    """Run `doctor --json` with these files first on the path; its findings by subject."""
    for name, text in (files or {}).items():
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "site" / name).write_text(text)
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    done = lightning_meta(folder, "doctor", "--json", **{"PYTHONPATH": path, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    sections: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    findings = [Finding(**each) for found in sections.values() for each in found]
    return {one.subject: one for one in sorted(findings, key=lambda one: one.level == "error")}


@pytest.mark.slow
def test_a_torchvision_that_does_not_match_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    files = {
        "torchvision/__init__.py": "raise RuntimeError('operator torchvision::nms does not exist')",
        "torchvision-0.28.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n",
    }
    found = doctor(tmp_path, 1, files)
    assert found["torchvision"].level == "error"
    assert found["torchvision"].fact.startswith("torchvision 0.28.0 does not match torch ")
    assert found["torchvision"].remedy.startswith("pip install --force-reinstall --no-deps torchvision")
    assert [one.subject for one in found.values() if one.level == "error"] == ["torchvision"]


def test_without_torch_everything_else_is_still_looked_at(tmp_path: Path) -> None:
    found = doctor(tmp_path, 1, {"sitecustomize.py": ABSENT})
    assert found["torch"].fact == "not installed"
    assert found["torch"].remedy.startswith("pip install torch")
    assert [one.subject for one in found.values() if one.level == "error"] == ["torch"]
    assert found["pytorch-lightning"].level == found["memory"].level == "ok"


def test_a_torch_that_ends_the_process_is_an_error(tmp_path: Path) -> None:
    found = doctor(tmp_path, 1, {"torch/__init__.py": "import os; os.kill(os.getpid(), 11)"})
    assert "cannot be imported: the process that imports it ends with status -11" in found["torch"].fact


def test_data_that_are_not_there_are_an_error_and_a_misspelt_variable_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "shards" / "mine").mkdir(parents=True)
    (tmp_path / "shards" / "mine" / "index.json").touch()
    given = {"LIGHTNING_META_DATA": "nowhere", "LIGHTNING_META_CASH": "x", "RAY_ADDRESS": "http://me:secret@head:8265"}
    found = doctor(tmp_path, 1, {"sitecustomize.py": ABSENT}, **given, PATH=os.path.dirname(sys.executable))
    assert found["LIGHTNING_META_DATA"].level == "error"
    assert found["LIGHTNING_META_DATA"].fact == "nowhere is not a folder"
    assert found["LIGHTNING_META_CASH"].level == "warning"
    assert found["RAY_ADDRESS"].fact == "(hidden)"
    assert found["shard sets"].fact == "shards/mine"
    assert found["slurm"].remedy.startswith("for `submit slurm`: submit from a login node")


def test_what_is_broken_is_counted_on_the_screen(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = lightning_meta(tmp_path, "doctor", LIGHTNING_META_DATA="nowhere", PYTHONPATH=path)
    assert done.returncode == 1
    assert "error    LIGHTNING_META_DATA" in done.stdout
    assert "-> export LIGHTNING_META_DATA=FOLDER" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 errors")


@pytest.mark.slow
def test_a_sound_machine_ends_with_status_0(tmp_path: Path) -> None:
    found = doctor(tmp_path, 0, LIGHTNING_META_DATA=str(tmp_path))
    assert {"Python", "torch", "pytorch-lightning", "webdataset", "CPU", "memory", "cache", "local"} <= found.keys()
    assert all(one.remedy for one in found.values() if one.level != "ok")


def test_an_option_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = lightning_meta(tmp_path, "doctor", "--jsn")
    assert done.returncode == 2
    assert "unrecognized arguments: --jsn" in done.stderr


def test_every_extra_for_users_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*EXTRAS} == {*project["optional-dependencies"]} - {"all", "dev", "bench", "docs"}
    assert {name for name, _ in requirements(None)} >= {"torch", "pytorch-lightning", "webdataset"}


@pytest.mark.parametrize(
    ("found", "allowed", "fitting"),
    [("2.13.0+cpu", ">=2.6", True), ("2.5.1", ">=2.6", False), ("2.7.0.dev1", ">=2.6", True), ("1.0", "", True)],
)
def test_versions_that_fit(found: str, allowed: str, fitting: bool) -> None:
    assert fits(found, allowed) is fitting


def test_a_version_that_does_not_fit_has_its_remedy() -> None:
    told = package("numpy", ">=99,<100", "error", {})
    assert told.level == "error"
    assert told.fact.endswith("and it should be >=99,<100")
    assert told.remedy == "pip install 'numpy>=99,<100'"


def test_a_limit_of_memory_is_that_of_the_group_or_of_one_above(tmp_path: Path) -> None:
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "job" / "memory.max").write_text("4294967296\n")
    (tmp_path / "job" / "step" / "memory.max").write_text("max\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    assert group_limit(tmp_path, own) == 2**32
    own.write_text("0::/\n")
    assert group_limit(tmp_path, own) is None
    (tmp_path / "memory" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "memory.limit_in_bytes").write_text("1073741824\n")
    own.write_text("3:cpu,cpuacct:/x\n2:memory:/job\n")
    assert group_limit(tmp_path, own) == 2**30


def test_data_and_disks_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_META_DATA", raising=False)
    assert [one.level for one in data(tmp_path)] == ["note", "note"]
    (tmp_path / "data" / "omniglot").mkdir(parents=True)
    assert next(data(tmp_path)).fact == f"{tmp_path / 'data'}: omniglot"
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10 * 2**20, "total": 2**34}))
    assert room("cache", tmp_path / "not" / "made") == Finding(
        "cache", f"10 MiB free of 16 GiB at {tmp_path}/not/made", "error", "make room, or choose a folder elsewhere"
    )


@pytest.mark.parametrize(("size", "text"), [(2**20, "1 MiB"), (1.2 * 2**30, "1.2 GiB"), (24 * 2**30, "24 GiB")])
def test_sizes_as_text(size: float, text: str) -> None:
    assert size_text(size) == text
