"""Build the wheel, install it into a clean environment, and use it from another folder.

    python tools/check_wheel.py

Checks that the wheel holds exactly the three packages, every configuration and `py.typed`; that every module imports and
`tools` and `tests` do not; and that the installed command runs a tiny meta-training.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORT_ALL = """
import importlib, pkgutil
for name in ("lightning_meta", "datamodules", "clusters"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name == "ray", error  # the extra `search`
for name in ("tools", "tests", "bench"):
    assert importlib.util.find_spec(name) is None, f"{name} must not be installed"
"""
TRAIN = [
    *("fit", "--config", "sinusoid-maml.yaml", "--trainer.max_epochs", "1"),
    *("--data.epoch_batches", "20", "--data.val_episodes", "25", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_progress_bar", "false"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT))
        (wheel,) = work.glob("*.whl")
        check_contents(wheel)
        venv.create(work / "venv", with_pip=True)
        binaries = work / "venv" / "bin"
        run(str(binaries / "pip"), "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel))
        elsewhere = work / "elsewhere"
        elsewhere.mkdir()
        run(str(binaries / "python"), "-c", IMPORT_ALL, cwd=elsewhere)
        run(str(binaries / "lightning-meta"), *TRAIN, cwd=elsewhere)
        for backend in ("local", "slurm"):  # found by the wheel's entry points
            submit = ("submit", backend, "--dry-run", "--", "compare", "a.ckpt")
            run(str(binaries / "lightning-meta"), *submit, cwd=elsewhere)
        tune = ("tune", *TRAIN[1:], "--config", "search/random_inner_lr_shots.yaml")
        refused = subprocess.run(
            [str(binaries / "lightning-meta"), *tune], cwd=elsewhere, capture_output=True, text=True
        )
        assert "pip install 'lightning-meta[search]'" in refused.stderr, refused.stderr
        assert list(elsewhere.glob("runs/sinusoid-maml/version_0/checkpoints/last.ckpt")), "fit wrote no checkpoint"
    print("the wheel is whole: built, installed, imported and run from another folder")


def check_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    packages = {"lightning_meta", "datamodules", "clusters"}
    assert {name for name in top if not name.endswith(".dist-info")} == packages, f"top level is {sorted(top)}"
    sources = [path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*")]
    for path in sources:
        if path.suffix in (".py", ".yaml", ".json") or path.name == "py.typed":
            assert str(path) in names, f"{path} is missing from the wheel"


def run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    main()
