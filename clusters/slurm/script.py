"""The script of a Slurm job: its options, its processes, and what becomes of it when it is told to stop."""

import re
import shlex

from clusters.core import quoting
from clusters.core.job import Job, JobError
from clusters.slurm import ray_cluster

LOGS = re.compile(r"[A-Za-z0-9 ._/@+:,=-]+")  # what an --output of Slurm's takes as it is
RESTARTS = 10  # of a job that does not say
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
# Before the processes of several nodes: where they cannot find each other, torch would try for half an hour.
MEET = """
first="${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}"
if ! timeout 60 getent ahosts "$first" > /dev/null; then
  echo "$SLURMD_NODENAME finds no address of $first, where the processes meet: set master_addr in the profile" >&2
  set -- false
fi
""".strip()


def script(job: Job) -> str:
    """The whole of it. JobError for what Slurm cannot hold."""
    quoting.check(job)
    tune = job.command[:1] == ("tune",)
    lines = ["#!/bin/bash", *(f"#SBATCH {shlex.quote(option)}" for option in options(job, tune))]
    lines += ["", *quoting.prologue(job), *begin(job)]
    lines += ray_cluster.body(job) if tune else body(job)
    return "\n".join([*lines, *ending(job)]) + "\n"


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
        "cpus-per-task": job.cpus_of_a_node if tune else job.cpus_of_a_task,
        "mem": job.memory,
        "time": minutes(job.time),
        "array": f"0-{job.array - 1}" if job.array > 1 else None,
        "output": job.folder / ("log-%a.txt" if job.array > 1 else "log.txt"),
        "open-mode": "append",
        # what cannot go on has nothing to save, and would meet the end of its time again
        "signal": f"{'B:' if tune else ''}USR1@{warning(job)}" if job.goes_on else None,
    }
    found |= {key: job.options.get(key) for key in ("account", "partition", "qos", "constraint", "reservation")}
    lines = [f"--{key}={value}" for key, value in found.items() if value is not None]
    lines += ["--requeue" if most(job) else "--no-requeue", "--export=ALL", *job.passthrough]
    for line in lines:
        if not line.startswith("-") or not line.isprintable():
            raise JobError(f"{line!r} is no option of sbatch: give it as --sbatch=--exclusive, on one line")
    return lines


def most(job: Job) -> int:
    """How often the job is started again at most."""
    return RESTARTS if job.max_restarts is None else job.max_restarts


def warning(job: Job) -> int:
    """Seconds before the end of its time at which a job is told to save: two minutes, but a quarter of a short time."""
    return int(job.options.get("signal_seconds", min(120, quoting.seconds(job.time) // 4) if job.time else 120))


def minutes(time: str | None) -> str | None:
    """Days-hours:minutes:seconds, as Slurm reads it."""
    if time is None:
        return None
    left = quoting.seconds(time)
    days, left = divmod(left, 86400)
    return f"{days}-{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"


def begin(job: Job) -> list[str]:
    """Who this run is, here and after a requeue, which Slurm may have asked for by itself."""
    folder, run = shlex.quote(str(job.folder)), shlex.quote(job.run)
    master = job.options.get("master_addr")
    return [
        'JOB="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"; JOB="${JOB:-$SLURM_JOB_ID}"',
        'RESTARTS="${SLURM_RESTART_COUNT:-0}"; RUN="${SLURM_ARRAY_TASK_ID:-0}"',
        f"FOLDER={folder}",
        'rm -f "$FOLDER/exit-$RUN" "$FOLDER/ended.json"  # of before somebody put the job back by hand',
        *(["export LIGHTNING_META_PREEMPTIBLE=1"] if job.command[:1] != ("tune",) else []),  # trials are Ray's to stop
        f'export LIGHTNING_META_RUN={run}"${{SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}}"',
        'export LIGHTNING_META_FAILED="$FOLDER/failed-$RUN-$RESTARTS"',
        *([f"export MASTER_ADDR={shlex.quote(str(master))}"] if master else []),
        "told=; trap 'told=1' USR1 TERM",
        f'echo "job $JOB on $SLURM_JOB_NODELIST, restart $RESTARTS of {most(job)}"',
        f'if [ "$RESTARTS" -gt {most(job)} ]; then',
        f'  echo "started again {most(job)} times already, and this time by Slurm: giving up" >&2; exit 1',
        "fi",
    ]


def body(job: Job) -> list[str]:
    """A process for each task, and how they ended in `code`."""
    task = f"{MEET}\n{TASK}" if job.nodes > 1 else TASK
    return [
        f"srun --kill-on-bad-exit=1 --cpus-per-task={job.cpus_of_a_task} \\",
        f"  bash -c {shlex.quote(task)} task \\",
        f"  {quoting.command(job)} &",
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
    anew = "" if job.goes_on else f"; at the end of its time a {job.command[0]} is not put back, as it would begin anew"
    return [
        'if [ "$code" -eq 75 ] && [ ! -e "$FOLDER/cancelled" ]; then',
        f'  if [ "$RESTARTS" -ge {most(job)} ]; then',
        f'    echo "preempted, and restarted {most(job)} times already: giving up" >&2',
        '  elif [ "$(timeout 60 squeue --noheader --format=%T --jobs "$JOB" 2>/dev/null)" = RUNNING ] \\',
        "    && (trap '' USR1 TERM; scontrol requeue \"$JOB\"); then  # which Slurm signals before it has told",
        '    echo "preempted: requeued"',
        '    sleep 300 & wait; exit "$code"',
        "  else",
        f'    echo "ended by Slurm{anew}" >&2',
        '    for i in 1 2 3 4 5 6 7 8 9 10; do sleep 30 & wait; done; exit "$code"',
        "  fi",
        "fi",
        'echo "$code" > "$FOLDER/exit-$RUN"  # for when Slurm has forgotten the job',
        'exit "$code"',
    ]
