"""A private Ray cluster inside a Slurm job, for a search: a head, workers and the driver, with its own token and folder."""

import shlex

from clusters.core.job import EXIT_TO_RESUME, Job
from clusters.core.shell_script import command_line, interpreter

# Ray makes its folder writable for everybody, so it is put into one that only this user may enter, under the same name on
# every node. The name is short, because the path of a socket has at most 107 bytes.
PRIVATE = 'mkdir -m 700 "$1" 2>/dev/null || { [ -O "$1" ] && [ ! -L "$1" ]; } || { echo "$1 is not ours" >&2; exit 1; }'
WORKER = f"""
{PRIVATE}
private="$1"; shift
trap 'kill -TERM "$ray" 2>/dev/null' TERM
"$@" &
ray=$!
wait "$ray"; wait "$ray" 2>/dev/null
rm -rf "$private"
""".strip()
SCRIPT = """\
# a private Ray cluster: only who has its token may join it or run anything on it
umask 077
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$FOLDER/ray-token-$JOB" RAY_USAGE_STATS_ENABLED=0
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > "$RAY_AUTH_TOKEN_PATH"
PORT=$((20000 + SLURM_JOB_ID % 10000))
SCRATCH="/tmp/lm-$(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \\n')"
HEAD="${{SLURMD_NODENAME:-$(hostname)}}"
ADDRESS="$(timeout 60 getent ahostsv4 "${{MASTER_ADDR:-$HEAD}}" | awk 'NR == 1 {{ print $1 }}')"
if [ -z "$ADDRESS" ]; then
  echo "${{MASTER_ADDR:-$HEAD}} has no address, so no Ray cluster can start there: set master_addr in the profile" >&2
  rm -f "$RAY_AUTH_TOKEN_PATH"; echo 1 > "$FOLDER/exit-$RUN"; exit 1
fi
set -- "$SCRATCH"
{private}
{ray} start --head --block --include-dashboard=false --node-ip-address="$ADDRESS" \\
  --port="$PORT" --temp-dir="$SCRATCH/ray" {resources} > "$FOLDER/ray-head-$JOB.txt" 2>&1 &
head=$!
workers=
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$HEAD" \\
    --cpus-per-task={cpus} bash -c {worker} worker "$SCRATCH" {ray} start --block --address="$ADDRESS:$PORT" {resources} \\
    > "$FOLDER/ray-workers-$JOB.txt" 2>&1 &
  workers=$!
fi
down() {{
  for pid in $workers $head; do kill -TERM "$pid" 2>/dev/null; done
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $workers $head 2>/dev/null || break; sleep 1; done
  for pid in $workers $head; do kill -KILL "$pid" 2>/dev/null; done
  rm -rf "$SCRATCH" "$RAY_AUTH_TOKEN_PATH"
}}
trap down EXIT
{python} -m clusters.slurm.wait_for_ray "$ADDRESS:$PORT" "$SLURM_JOB_NUM_NODES" "$head" && {{
  {command} --address "$ADDRESS:$PORT" &
  driver=$!
  trap 'stopped=1; kill -TERM "$driver" 2>/dev/null' USR1 TERM
  while :; do wait "$driver"; code=$?; kill -0 "$driver" 2>/dev/null || break; done
}} || code=${{code:-1}}
trap 'stopped=1' USR1 TERM
if [ "$code" -ne 0 ] && [ -n "$stopped" ]; then code={resume}; fi
trap - EXIT; down"""


def search_lines(job: Job) -> list[str]:
    """Return the lines that leave the driver's exit status in `code`; EXIT_TO_RESUME if a signal ended it."""
    resources = f"--num-cpus={job.node_cpus} --num-gpus={job.gpus_per_node}"
    if "object_store_memory" in job.options:
        resources += f" --object-store-memory={int(job.options['object_store_memory'])}"
    python = shlex.quote(interpreter(job))
    text = SCRIPT.format(
        python=python,
        private=PRIVATE,
        worker=shlex.quote(WORKER),
        # without these, Lightning would take a trial for a task of srun
        ray=f"env -u SLURM_NTASKS -u SLURM_PROCID {python} -m ray.scripts.scripts",
        resources=resources,
        cpus=job.node_cpus,
        command=command_line(job),
        resume=EXIT_TO_RESUME,
    )
    return text.splitlines()
