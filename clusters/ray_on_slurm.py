"""A Ray cluster inside a job of Slurm's: a head, workers, and the driver, with a token of the job's own."""

import shlex

from clusters import shell
from clusters.job import Job

SCRIPT = """\
# a Ray cluster of this job's own: nobody without its token may join it or run anything on it
umask 077
rm -rf "/tmp/lm-ray-$SLURM_JOB_ID"  # of before a requeue
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$FOLDER/ray-token-$JOB" RAY_USAGE_STATS_ENABLED=0
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > "$RAY_AUTH_TOKEN_PATH"
PORT=$((20000 + SLURM_JOB_ID % 10000))
SCRATCH="/tmp/lm-ray-$SLURM_JOB_ID"
HEAD="${{SLURMD_NODENAME:-$(hostname)}}"
ADDRESS="$(getent ahostsv4 "$HEAD" | awk 'NR == 1 {{ print $1 }}')"; ADDRESS="${{ADDRESS:-$HEAD}}"
{ray} start --head --block --include-dashboard=false --node-ip-address="$ADDRESS" \\
  --port="$PORT" --temp-dir="$SCRATCH" {resources} > "$FOLDER/ray-head-$JOB.txt" 2>&1 &
head=$!
workers=
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$HEAD" \\
    --cpus-per-task={cpus} {ray} start --block --address="$ADDRESS:$PORT" {resources} \\
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
{python} -c {wait} "$ADDRESS:$PORT" "$SLURM_JOB_NUM_NODES" && {{
  {command} --address "$ADDRESS:$PORT" &
  driver=$!
  trap 'told=1; kill -TERM "$driver" 2>/dev/null' USR1 TERM
  while :; do wait "$driver"; code=$?; kill -0 "$driver" 2>/dev/null || break; done
}} || code=${{code:-1}}
trap 'told=1' USR1 TERM
if [ "$code" -ne 0 ] && [ -n "$told" ]; then code=75; fi
trap - EXIT; down"""

# Joins the cluster and waits for its nodes; says what is missing where they do not come.
WAIT = """
import sys, time, ray
address, nodes = sys.argv[1], int(sys.argv[2])
end = time.time() + 300
while True:
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        break
    except Exception as error:
        if time.time() > end:
            sys.exit(f"the head of the Ray cluster at {address} does not answer: {error}")
        time.sleep(1)
while (there := sum(node["Alive"] for node in ray.nodes())) < nodes:
    if time.time() > end:
        sys.exit(f"{there} of {nodes} nodes have joined the Ray cluster at {address} in five minutes: see ray-workers-*.txt")
    time.sleep(1)
print(f"{there} of {nodes} nodes have joined the Ray cluster at {address}", flush=True)
""".strip()


def body(job: Job) -> list[str]:
    """Lines that leave the driver's exit status in `code`; 75 where a signal ended it."""
    cpus = job.cpus_per_task * job.tasks_per_node
    resources = f"--num-cpus={cpus} --num-gpus={job.gpus_per_node}"
    if "object_store_memory" in job.options:
        resources += f" --object-store-memory={int(job.options['object_store_memory'])}"
    python = shlex.quote(shell.program(job)[0])
    text = SCRIPT.format(
        python=python,
        # Lightning would take a trial for a task of srun's
        ray=f"env -u SLURM_NTASKS -u SLURM_PROCID {python} -m ray.scripts.scripts",
        resources=resources,
        cpus=cpus,
        wait=shlex.quote(WAIT),
        command=shell.command(job),
    )
    return text.splitlines()
