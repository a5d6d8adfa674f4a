"""Import the packages that may be broken, and print as JSON what came of it: python -m lightning_meta.machine.probe.

It is a process of its own, because a broken package may end the process that imports it.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from typing import Any, TypedDict

from lightning_meta.mismatch import mismatch

IMPORTED = ("torch", "torchvision", "torchmetrics", "pytorch_lightning", "webdataset", "tensorboard")
SECONDS = 300  # for all imports, on a slow disk


class Probed(TypedDict):
    """The findings of a probe.

    Attributes:
        broken: The packages that cannot be imported, by name, with the reason.
        cuda: The version of CUDA that torch was built for; None for a build without it.
        gpus: The name and the bytes of memory of each GPU that torch reaches.
        mps: True if torch reaches the GPU of a Mac.
    """

    broken: dict[str, str]
    cuda: str | None
    gpus: list[tuple[str, int]]
    mps: bool


def probe() -> Probed:
    """Import the packages in this process. A package that is not installed is left out, except torch."""
    broken: dict[str, str] = {}
    for name in IMPORTED:
        if name != "torch" and importlib.util.find_spec(name) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a broken package does
            broken[name] = reason(name, error)
            for module in [module for module in sys.modules if module.partition(".")[0] == name]:
                del sys.modules[module]
            if name == "torch":
                break  # the others import it
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return Probed(broken=broken, cuda=None, gpus=[], mps=False)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(number) for number in range(count)]
    gpus = [(each.name, each.total_memory) for each in properties]
    return Probed(broken=broken, cuda=torch.version.cuda, gpus=gpus, mps=torch.backends.mps.is_available())


def reason(name: str, error: Exception) -> str:
    """Return in one line why an import failed."""
    if name == "torchvision":
        return mismatch(error)
    return " ".join((str(error) or type(error).__name__).split())[:300]


def probe_apart() -> Probed:
    """Run `probe` in a process of its own, which sees the same modules. A process that dies counts as a broken torch."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lightning_meta.machine.probe"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=SECONDS,
        )
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        last = (done.stderr.strip().splitlines() or [""])[-1]
        why = f"the process that imports it ends with status {done.returncode} {last}".strip()
    except subprocess.TimeoutExpired:
        why = f"importing it takes more than {SECONDS} seconds"
    return Probed(broken={"torch": why}, cuda=None, gpus=[], mps=False)


if __name__ == "__main__":
    print(f"\n{json.dumps(probe())}")
