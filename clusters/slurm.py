"""Slurm: an sbatch script, and the scheduler's own commands."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from clusters import ray_on_slurm, shell
from clusters.folder import tail, write
from clusters.job import Backend, Job, JobError, Status
from clusters.slurm_states import ENDED, array_state, found_state, parse_accounting, parse_control, parse_queue

LOGS = re.compile(r"[A-Za-z0-9 ._/@+:,=-]+")  # what an --output of Slurm's takes as it is
# Runs one process. After a signal, any end but success asks for another start; else the first code that is bad is kept.
TASK = """
trap 'told=1' USR1 TERM
"$@"
code=$?
if [ "$code" -eq 0 ] || [ "$code" -eq 75 ]; then exit "$code"; fi
if [ -n "${told:-}" ]; then exit 75; fi
(set -C; echo "$code" > "$LIGHTNING_META_FAILED") 2>/dev/null
exit "$code"
""".strip()


class Slurm(Backend):
    """Jobs of Slurm, by its ids. A preempted job saves (LIGHTNING_META_PREEMPTIBLE=1), and its script requeues it.

    Profiles may set account, partition, qos, constraint, reservation; python, the interpreter there; signal_seconds, how
    long before the end of its time a job is told to save; master_addr, where processes meet, if not on the first node.
    """

    name = "slurm"

    def render(self, job: Job) -> str:
        shell.check(job)
        tune = job.command[:1] == ("tune",)
        lines = ["#!/bin/bash", *(f"#SBATCH {shlex.quote(option)}" for option in options(job, tune))]
        lines += ["", *shell.prologue(job), *begin(job)]
        lines += ray_on_slurm.body(job) if tune else body(job)
        return "\n".join([*lines, *ending(job)]) + "\n"

    def check(self, job: Job, dry_run: bool = False) -> None:
        """JobError where sinfo tells that there is no such partition, or that no node of it has so many GPUs."""
        if shutil.which("sinfo") is None:
            if not dry_run:
                self._run("sbatch")
            return
        told = self._run("sinfo", "--noheader", "-o", "%R|%G", check=False).stdout.split()
        partitions = {line.partition("|")[0] for line in told}
        chosen = job.options.get("partition")
        for name in str(chosen).split(",") if chosen else []:
            if partitions and name not in partitions:
                raise JobError(f"no partition {name!r}: choose from {', '.join(sorted(partitions))}")
        mine = [
            line.partition("|")[2] for line in told if not chosen or line.partition("|")[0] in str(chosen).split(",")
        ]
        most = max((gpus(gres) for gres in mine), default=0)
        if mine and job.gpus_per_node > most:
            raise JobError(
                f"--gpus-per-node is {job.gpus_per_node}, and no node {f'of {chosen} ' if chosen else ''}has more than {most}"
            )

    def submit(self, job: Job) -> str:
        script = job.folder / "script.txt"
        done = self._run("sbatch", "--parsable", str(script), cwd=job.workdir)
        return done.stdout.strip().splitlines()[-1].partition(";")[0]

    def status(self, id: str, folder: Path) -> Status:
        """squeue, then scontrol, then accounting, then the file of completed jobs; where none knows the job, unknown."""
        states = parse_queue(self._out("squeue", "--json", "--jobs", id), id)
        states = states or parse_control(self._out("scontrol", "show", "job", "-o", id))
        columns = "--format=JobID,State,ExitCode,Restarts"
        states = states or parse_accounting(self._out("sacct", "-n", "-P", "-X", columns, "-j", id))
        states = states or parse_accounting(self._out("sacct", "-c", "-n", "-P", "--format=JobID,State", "-j", id))
        return found_state(array_state(states), folder)

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        return tail(folder, lambda: self.status(id, folder).state in ENDED, follow, pause=1.0)

    def cancel(self, id: str, folder: Path) -> None:
        write(folder / "cancelled", "")  # which the script looks for before it requeues
        self._run("scancel", id)

    def _out(self, *command: str) -> str:
        """What a command prints; nothing where it fails."""
        done = self._run(*command, check=False)
        return done.stdout if done.returncode == 0 else ""

    def _run(self, *command: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SBATCH_", "SLURM_JOB"))
        }
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=60
            )
        except FileNotFoundError as error:
            raise JobError(
                f"no `{command[0]}` on this machine: submit from a login node of the cluster, or load its Slurm module"
            ) from error
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, 1, "", f"{command[0]} does not answer")
        if check and done.returncode:
            raise JobError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done


def options(job: Job, tune: bool) -> list[str]:
    """The options of sbatch, unquoted."""
    if not LOGS.fullmatch(str(job.folder)):
        raise JobError(f"Slurm cannot log below {str(job.folder)!r}: set LIGHTNING_META_JOBS to a plainer path")
    tasks = 1 if tune else job.tasks_per_node
    found = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": tasks,
        "gpus-per-node": job.gpus_per_node or None,
        "cpus-per-task": job.cpus_per_task * (job.tasks_per_node if tune else 1),
        "mem": job.memory,
        "time": minutes(job.time),
        "array": f"0-{job.array - 1}" if job.array > 1 else None,
        "output": job.folder / ("log-%a.txt" if job.array > 1 else "log.txt"),
        "open-mode": "append",
        "signal": f"{'B:' if tune else ''}USR1@{warning(job)}",
    }
    found |= {key: job.options.get(key) for key in ("account", "partition", "qos", "constraint", "reservation")}
    lines = [f"--{key}={value}" for key, value in found.items() if value is not None]
    lines += ["--requeue" if job.max_restarts else "--no-requeue", "--export=ALL", *job.passthrough]
    for line in lines:
        if not line.startswith("-") or not line.isprintable():
            raise JobError(f"{line!r} is no option of sbatch: give it as --sbatch=--exclusive, on one line")
    return lines


def warning(job: Job) -> int:
    """Seconds before the end of its time at which a job is told to save: two minutes, but a quarter of a short time."""
    return int(job.options.get("signal_seconds", min(120, shell.seconds(job.time) // 4) if job.time else 120))


def minutes(time: str | None) -> str | None:
    """Days-hours:minutes:seconds, as Slurm reads it."""
    if time is None:
        return None
    left = shell.seconds(time)
    days, left = divmod(left, 86400)
    return f"{days}-{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"


def gpus(gres: str) -> int:
    """GPUs in a node's gres, such as gpu:a100:8(S:0-1),nvme:1."""
    return sum(int(found) for found in re.findall(r"gpu(?::[\w.-]+)?:(\d+)", gres))


def begin(job: Job) -> list[str]:
    """Who this run is, here and after a requeue."""
    folder, run = shlex.quote(str(job.folder)), shlex.quote(job.folder.name)
    master = job.options.get("master_addr")
    return [
        'JOB="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"; JOB="${JOB:-$SLURM_JOB_ID}"',
        'RESTARTS="${SLURM_RESTART_COUNT:-0}"; RUN="${SLURM_ARRAY_TASK_ID:-0}"',
        f"FOLDER={folder}",
        *(["export LIGHTNING_META_PREEMPTIBLE=1"] if job.command[:1] != ("tune",) else []),  # trials are Ray's to stop
        f'export LIGHTNING_META_RUN={run}"${{SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}}"',
        'export LIGHTNING_META_FAILED="$FOLDER/failed-$RUN-$RESTARTS"',
        *([f"export MASTER_ADDR={shlex.quote(str(master))}"] if master else []),
        "told=; trap 'told=1' USR1 TERM",
        f'echo "job $JOB on $SLURM_JOB_NODELIST, restart $RESTARTS of {job.max_restarts}"',
    ]


def body(job: Job) -> list[str]:
    """A process for each task, and how they ended in `code`."""
    return [
        f"srun --kill-on-bad-exit=1 --cpus-per-task={job.cpus_per_task} \\",
        f"  bash -c {shlex.quote(TASK)} task \\",
        f"  {shell.command(job)} &",
        "step=$!",
        'while :; do wait "$step"; code=$?; kill -0 "$step" 2>/dev/null || break; done',
        'if [ -s "$LIGHTNING_META_FAILED" ]; then',
        '  code="$(head -n 1 "$LIGHTNING_META_FAILED")"',
        'elif [ "$code" -ne 0 ] && { [ -n "$told" ] || [ "$code" -eq 137 ] || [ "$code" -eq 143 ]; }; then',
        "  code=75  # no process failed by itself: something ended them",
        "fi",
    ]


def ending(job: Job) -> list[str]:
    """Requeue on status 75, up to the limit. What requeues or is preempted stays until it is killed: an exit would count."""
    return [
        'if [ "$code" -eq 75 ] && [ ! -e "$FOLDER/cancelled" ]; then',
        f'  if [ "$RESTARTS" -ge {job.max_restarts} ]; then',
        f'    echo "preempted, and restarted {job.max_restarts} times already: giving up" >&2',
        '  elif [ "$(squeue --noheader --format=%T --jobs "$JOB" 2>/dev/null)" = RUNNING ] \\',
        "    && (trap '' USR1 TERM; scontrol requeue \"$JOB\"); then  # which Slurm signals before it has told",
        '    echo "preempted: requeued"',
        "    sleep 300 & wait",
        "  else",
        '    echo "ended by Slurm" >&2',
        "    for i in 1 2 3 4 5 6 7 8 9 10; do sleep 30 & wait; done",
        "  fi",
        "fi",
        'exit "$code"',
    ]
