"""The environment variables that the packages read or set, with their meanings. `doctor` and docs/environment.md show them."""

import os
from typing import NamedTuple


class Variable(NamedTuple):
    """An environment variable.

    Attributes:
        name: Its name.
        meaning: What it does, as a phrase.
        default: What holds where it is not set.
    """

    name: str
    meaning: str
    default: str = "none"


YOURS = (
    Variable(
        "LIGHTNING_META_DATA",
        "The folder of raw data sets; archives are in `omniglot/` and `caltech101/` below it.",
        "data",
    ),
    Variable("LIGHTNING_META_CACHE", "The folder that copies of remote shards are kept in.", "~/.cache/lightning-meta"),
    Variable(
        "LIGHTNING_META_PROFILES",
        "The file of the profiles that `submit --profile` chooses from.",
        "$XDG_CONFIG_HOME/lightning-meta/profiles.yaml",
    ),
    Variable(
        "LIGHTNING_META_JOBS",
        "The folder that `submit` keeps jobs in and `jobs` finds them in.",
        "$XDG_STATE_HOME/lightning-meta/jobs",
    ),
    Variable(
        "LIGHTNING_META_RUN",
        "The name of a run's folder. A fit of this name resumes from its last checkpoint, and a search resumes, without"
        " `--ckpt_path` or `--resume`. Jobs set it to their own name.",
        "version_0, version_1 ...",
    ),
    Variable(
        "LIGHTNING_META_PREEMPTIBLE",
        "1: SIGTERM and SIGUSR1 save the state of a fit and end it with status 75, which asks the scheduler to start it again."
        " Jobs set it.",
        "0",
    ),
    Variable("LIGHTNING_META_DEBUG", "1: an error that the user can correct shows its traceback as well.", "0"),
    Variable(
        "LIGHTNING_META_CORES",
        "The number of cores that this process may use, by which `data.num_workers: auto` and the processes of `shards` are"
        " counted. The trials of a search set it to `search.cpus`.",
        "its CPU affinity, or the CPU quota of its control group if that is less",
    ),
    Variable("LIGHTNING_META_MALLOC", "0: leave the memory allocator of the C library as it is.", "1"),
)
BETWEEN_PROCESSES = (
    Variable("LIGHTNING_META_FOLDER", "The folder of the run, for the other processes of a fit on several devices."),
    Variable("LIGHTNING_META_TORCHVISION", "Set where a torchvision that does not match torch has been reported."),
    Variable("LIGHTNING_META_COMMAND", "The command of a pod on Kubernetes, as JSON."),
    Variable("LIGHTNING_META_SETUP", "The `setup` lines of a pod on Kubernetes."),
    Variable(
        "LIGHTNING_META_FAILED", "The file in which the first failed process of a job on Slurm leaves its status."
    ),
)
OTHERS = (
    Variable("XDG_CONFIG_HOME", "The folder of settings.", "~/.config"),
    Variable("XDG_STATE_HOME", "The folder of what programs keep from run to run.", "~/.local/state"),
    Variable("RAY_ADDRESS", "The Ray cluster of a search, and of `submit ray`.", "a local cluster of its own"),
    Variable("RAY_API_SERVER_ADDRESS", "The dashboard of the Ray cluster of `submit ray`, before RAY_ADDRESS."),
    Variable("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1: `submit ray` also sends files that .gitignore excludes.", "0"),
    Variable("KUBECONFIG", "The file that names the Kubernetes clusters.", "~/.kube/config"),
    Variable("CUDA_VISIBLE_DEVICES", "The numbers of the GPUs that a process sees.", "all"),
    Variable("SLURM_JOB_END_TIME", "The end of a Slurm job, before which a fit warns that its time is too short."),
    Variable("NODE_RANK", "The number of this machine in a fit on several; schedulers and torchrun set it.", "0"),
    Variable("WORLD_SIZE", "The number of processes of a fit on several; schedulers and torchrun set it.", "1"),
)
SET = (
    Variable("RAY_USAGE_STATS_ENABLED", "1: Ray reports its use to its makers. A search sets it to 0.", "0"),
    Variable("THP_MEM_ALLOC_ENABLE", "1: PyTorch asks for huge pages. Commands set it to 1.", "1"),
)
TABLES = {
    "Variables of lightning-meta": YOURS,
    "Variables of other programs that lightning-meta reads": OTHERS,
    "Variables of other programs that lightning-meta sets, unless they are set": SET,
    "Variables that processes of lightning-meta set for each other": BETWEEN_PROCESSES,
}


def variables_set() -> list[tuple[Variable, str]]:
    """Return the variables that a command reads and that are set, with their values."""
    return [(one, os.environ[one.name]) for one in (*YOURS, *OTHERS) if one.name in os.environ]


def unknown_variables() -> list[str]:
    """Return the names that begin with LIGHTNING_META_ and that nothing reads, which are misspelt as a rule."""
    known = {one.name for table in TABLES.values() for one in table}
    return sorted(name for name in os.environ if name.startswith("LIGHTNING_META_") and name not in known)
