"""The script of a Slurm job: its options, its processes, and how it is put back into the queue."""

import re
import shlex

from clusters.core.job import EXIT_TO_RESUME, Job, JobError
from clusters.core.shell_script import command_line, prologue
from clusters.core.units import check_memory, seconds, warning_seconds
from clusters.slurm import ray_cluster

LOGS = re.compile(r"[A-Za-z0-9 ._/@+:,=-]+")  # paths that Slurm's --output takes as they are
RESTARTS = 10  # of a job that does not say
# Runs one process. After a signal, any end but success asks for another start; else the first bad exit status is kept.
TASK = f"""
trap 'stopped=1' USR1 TERM
"$@"
code=$?
if [ "$code" -eq 0 ] || [ "$code" -eq {EXIT_TO_RESUME} ]; then exit "$code"; fi
if [ -n "${{stopped:-}}" ]; then exit {EXIT_TO_RESUME}; fi
(set -C; echo "$code" > "$LIGHTNING_META_FAILED") 2>/dev/null
exit "$code"
""".strip()
# Before the processes of several nodes: if they cannot find each other, torch would try for half an hour.
MEET = """
first="${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}"
if ! timeout 60 getent ahosts "$first" > /dev/null; then
  echo "$SLURMD_NODENAME finds no address of $first, where the processes meet: set master_addr in the profile" >&2
  set -- false
fi
""".strip()


def slurm_script(job: Job) -> str:
    """Return the whole script. Raises JobError for what Slurm cannot hold."""
    check_memory(job)
    lines = ["#!/bin/bash", *(f"#SBATCH {shlex.quote(option)}" for option in sbatch_options(job))]
    lines += ["", *prologue(job), *start_lines(job)]
    lines += ray_cluster.search_lines(job) if job.is_search else task_lines(job)
    return "\n".join([*lines, *end_lines(job)]) + "\n"


def sbatch_options(job: Job) -> list[str]:
    """Return the options of sbatch, unquoted."""
    if not LOGS.fullmatch(str(job.folder)):
        raise JobError(
            f"the job's folder is {str(job.folder)!r}, below which Slurm cannot log: set LIGHTNING_META_JOBS to a path of"
            " letters, digits and dashes"
        )
    values = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": 1 if job.is_search else job.tasks_per_node,
        "gpus-per-node": job.gpus_per_node or None,
        "cpus-per-task": job.node_cpus if job.is_search else job.task_cpus,
        "mem": job.memory,
        "time": slurm_time(job.time),
        "array": f"0-{job.array - 1}" if job.array > 1 else None,
        "output": job.folder / ("log-%a.txt" if job.array > 1 else "log.txt"),
        "open-mode": "append",
        # a command that cannot resume has nothing to save, and would meet the end of its time again
        "signal": f"{'B:' if job.is_search else ''}USR1@{signal_seconds(job)}" if job.resumes else None,
    }
    values |= {key: job.options.get(key) for key in ("account", "partition", "qos", "constraint", "reservation")}
    options = [f"--{key}={value}" for key, value in values.items() if value is not None]
    options += ["--requeue" if most_restarts(job) else "--no-requeue", "--export=ALL", *job.passthrough]
    for option in options:
        if not option.startswith("-") or not option.isprintable():
            raise JobError(f"{option!r} is not an option of sbatch: give one such as --sbatch=--exclusive, on one line")
    return options


def most_restarts(job: Job) -> int:
    """Return how often the job is started again at most."""
    return RESTARTS if job.max_restarts is None else job.max_restarts


def signal_seconds(job: Job) -> int:
    """Return how long before its time limit a job is asked to save."""
    return int(job.options.get("signal_seconds", warning_seconds(job)))


def slurm_time(time: str | None) -> str | None:
    """Return a time limit as days-hours:minutes:seconds, which Slurm reads."""
    if time is None:
        return None
    days, rest = divmod(seconds(time), 86400)
    return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def start_lines(job: Job) -> list[str]:
    """Return the lines that name the run, at the first start and after a requeue, which Slurm may decide on by itself."""
    folder, run, most = shlex.quote(str(job.folder)), shlex.quote(job.run_name), most_restarts(job)
    master = job.options.get("master_addr")
    return [
        'JOB="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"; JOB="${JOB:-$SLURM_JOB_ID}"',
        'RESTARTS="${SLURM_RESTART_COUNT:-0}"; RUN="${SLURM_ARRAY_TASK_ID:-0}"',
        f"FOLDER={folder}",
        'rm -f "$FOLDER/exit-$RUN" "$FOLDER/ended.json"  # from before somebody requeued the job by hand',
        *([] if job.is_search else ["export LIGHTNING_META_PREEMPTIBLE=1"]),  # Ray stops the trials of a search
        f'export LIGHTNING_META_RUN={run}"${{SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}}"',
        'export LIGHTNING_META_FAILED="$FOLDER/failed-$RUN-$RESTARTS"',
        *([f"export MASTER_ADDR={shlex.quote(str(master))}"] if master else []),
        "stopped=; trap 'stopped=1' USR1 TERM",
        f'echo "job $JOB on $SLURM_JOB_NODELIST, restart $RESTARTS of {most}"',
        f'if [ "$RESTARTS" -gt {most} ]; then',
        f'  echo "started again {most} times already, and this time by Slurm: giving up" >&2; exit 1',
        "fi",
    ]


def task_lines(job: Job) -> list[str]:
    """Return the lines that run a process per task, and leave the exit status in `code`."""
    task = f"{MEET}\n{TASK}" if job.nodes > 1 else TASK
    return [
        f"srun --kill-on-bad-exit=1 --cpus-per-task={job.task_cpus} \\",
        f"  bash -c {shlex.quote(task)} task \\",
        f"  {command_line(job)} &",
        "step=$!",
        'while :; do wait "$step"; code=$?; kill -0 "$step" 2>/dev/null || break; done',
        'if [ -s "$LIGHTNING_META_FAILED" ]; then',
        '  code="$(head -n 1 "$LIGHTNING_META_FAILED")"',
        'elif [ "$code" -ne 0 ] && { [ -n "$stopped" ] || [ "$code" -eq 137 ] || [ "$code" -eq 143 ]; }; then',
        f"  code={EXIT_TO_RESUME}  # no process failed by itself: they were ended from outside",
        "fi",
    ]


def end_lines(job: Job) -> list[str]:
    """Return the lines that requeue the job on EXIT_TO_RESUME, up to the limit.

    A job that requeues itself or is preempted stays until it is killed: an exit would count as its end.
    """
    most = most_restarts(job)
    anew = "" if job.resumes else f"; at its time limit a {job.command[0]} is not requeued, as it would begin anew"
    return [
        f'if [ "$code" -eq {EXIT_TO_RESUME} ] && [ ! -e "$FOLDER/cancelled" ]; then',
        f'  if [ "$RESTARTS" -ge {most} ]; then',
        f'    echo "preempted, and restarted {most} times already: giving up" >&2',
        '  elif [ "$(timeout 60 squeue --noheader --format=%T --jobs "$JOB" 2>/dev/null)" = RUNNING ] \\',
        "    && (trap '' USR1 TERM; scontrol requeue \"$JOB\"); then  # Slurm signals before scontrol returns",
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
