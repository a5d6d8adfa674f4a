"""The devices that PyTorch can use on this machine, and their memory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning_meta.machine.finding import Finding, size_text
from lightning_meta.machine.memory import available_memory, total_memory
from lightning_meta.machine.packages import installed
from lightning_meta.machine.probe import Probed

LEAST_MEMORY = 2 * 2**30  # bytes: the packaged runs take one or two GiB


def devices(probed: Probed) -> Iterator[Finding]:
    """Yield the processor, the memory and the GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU", f"{cores} cores that this process may use")
    yield memory()
    for number, (name, size) in enumerate(probed["gpus"]):
        yield Finding(f"GPU {number}", f"{name}, {size_text(size)}")
    if probed["mps"]:
        yield Finding("GPU", "of this Mac (--trainer.accelerator mps)")
    if not probed["gpus"] and "torch" not in probed["broken"] and has_nvidia_driver():
        yield unreachable(probed)


def memory() -> Finding:
    """Return the memory of the machine, with a warning where little of it is free."""
    total, free = total_memory(), available_memory()
    if total is None or free is None:
        return Finding("memory", "unknown on this system" if total is None else size_text(total))
    free = min(free, total)
    fact = f"{size_text(free)} free of {size_text(total)}"
    if free < LEAST_MEMORY:
        return Finding("memory", fact, "warning", "end other programs, or lower data.meta_batch")
    return Finding("memory", fact)


def unreachable(probed: Probed) -> Finding:
    """Return why a GPU of NVIDIA's that is here is not used, as far as that can be told."""
    if probed["cuda"] is None:
        fact = f"there is one, and torch {installed('torch')} is built without CUDA"
        return Finding("GPU", fact, "warning", "pip install --force-reinstall torch")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return Finding(
            "GPU", f"hidden by CUDA_VISIBLE_DEVICES={hidden}", "note", "unset CUDA_VISIBLE_DEVICES to use it"
        )
    fact = f"torch is built for CUDA {probed['cuda']} and does not reach it"
    return Finding("GPU", fact, "warning", "update the NVIDIA driver (nvidia-smi shows it), or install an older torch")


def has_nvidia_driver() -> bool:
    """Return whether an NVIDIA driver is installed."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
