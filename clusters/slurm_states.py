"""What Slurm's commands say of a job, in our words. Nothing here fails: what cannot be read is unknown."""

import json
import re
from pathlib import Path

from clusters.job import State, Status

STATES: dict[str, State] = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"), "pending"),
    **dict.fromkeys(("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "SUSPENDED", "STOPPED"), "running"),
    "COMPLETED": "succeeded",
    **dict.fromkeys(
        ("FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED"), "failed"
    ),
    **dict.fromkeys(("CANCELLED", "REVOKED"), "cancelled"),
    "PREEMPTED": "preempted",
}
ENDED = ("succeeded", "failed", "cancelled", "preempted")
SEVERITY = ("failed", "cancelled", "preempted", "unknown", "succeeded")  # of an array's runs, what counts first


def parse_queue(text: str, id: str) -> list[Status]:
    """squeue --json; newer ones give a list of states, and numbers as {set, number}."""
    try:
        jobs = json.loads(text)["jobs"]
    except (ValueError, KeyError, TypeError):
        return []
    found = []
    for job in jobs if isinstance(jobs, list) else []:
        if not isinstance(job, dict):
            continue
        if id not in (str(_number(job.get(key))) for key in ("job_id", "array_job_id")):
            continue
        states = job.get("job_state")
        words = [states] if isinstance(states, str) else states if isinstance(states, list) else []
        code = job.get("exit_code")
        if isinstance(code, dict):
            code = _number(code.get("return_code"))
        elif isinstance(code, int):
            code = code >> 8 if code > 255 else code
        found.append(_status(" ".join(map(str, words)), code, _number(job.get("restart_cnt")), job.get("state_reason")))
    return found


def parse_control(text: str) -> list[Status]:
    """scontrol show job -o: a job a line, of KEY=VALUE."""
    found = []
    for line in text.splitlines():
        facts = dict(re.findall(r"(\S+?)=(\S*)", line))
        if "JobState" in facts:
            code = facts.get("ExitCode", "").partition(":")[0]
            restarts = facts.get("Restarts", "")
            found.append(_status(facts["JobState"], code, restarts, facts.get("Reason")))
    return found


def parse_accounting(text: str) -> list[Status]:
    """sacct -n -P: JobID|State and, with accounting, |ExitCode|Restarts."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) >= 2 and "." not in parts[0]:
            code = parts[2].partition(":")[0] if len(parts) > 2 else None
            found.append(_status(parts[1], code, parts[3] if len(parts) > 3 else None, None))
    return found


def array_state(states: list[Status]) -> Status:
    """One state of all of an array's runs: running while one runs, failed where one has failed."""
    if len(states) < 2:
        return states[0] if states else Status("unknown", detail="Slurm does not know it, or does not answer")
    names = [status.state for status in states]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    for name in ("running", "pending", *SEVERITY):
        if name in names:
            first = states[names.index(name)]
            return Status(name, first.exit_code, sum(status.restarts for status in states), counts)
    return Status("unknown", detail=counts)


def found_state(status: Status, folder: Path) -> Status:
    """A job that we cancelled and that ended by itself on the way counts as cancelled."""
    if status.state in ("failed", "preempted") and (folder / "cancelled").exists():
        return status._replace(state="cancelled")
    return status


def _status(words: str, code: object, restarts: object, reason: object) -> Status:
    """`words`: a state, or several, or one with a remark such as `CANCELLED by 0`."""
    first = (words.split() or ["?"])[0].rstrip("+").upper()
    state = STATES.get(first, "unknown")
    number = int(str(code)) if str(code).isdigit() else None
    known = state in ("failed", "succeeded") and number is not None
    remark = str(reason) if reason not in (None, "", "None") and state in ("pending", "failed") else ""
    detail = f"{first} {remark}".strip()
    return Status(state, number if known else None, int(str(restarts)) if str(restarts).isdigit() else 0, detail)


def _number(value: object) -> object:
    return value.get("number") if isinstance(value, dict) else value
