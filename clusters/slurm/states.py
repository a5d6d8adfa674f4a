"""States of jobs, read from the output of Slurm's commands. Nothing here fails: what cannot be read is unknown."""

from pathlib import Path

from clusters.core.files import read_json
from clusters.core.job import State, Status

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
FIELDS = "JobArrayID:|,State:|,RestartCnt:|,exit_code:|,Reason:|"  # of squeue --Format
ENDED = ("succeeded", "failed", "cancelled", "preempted")
SEVERITY = ("failed", "cancelled", "preempted", "unknown", "succeeded")  # of an array's runs, the first of these counts


def parse_queue(text: str) -> dict[str, list[Status]]:
    """Return the states of all runs per job, from squeue --Format=FIELDS.

    A line is a run of an array: JobID_RUN|State|Restarts|wait status|Reason|.
    """
    states: dict[str, list[Status]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) >= 5 and parts[0][:1].isdigit():
            status = _status(parts[1], _exit_code(parts[3]), parts[2], parts[4])
            states.setdefault(parts[0].partition("_")[0], []).append(status)
    return states


def parse_accounting(text: str) -> dict[str, list[Status]]:
    """Return the states of all runs per job, from sacct -n -P: JobID|State|ExitCode and, with accounting, |Restarts."""
    states: dict[str, list[Status]] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) >= 3 and "." not in parts[0] and parts[0][:1].isdigit():
            status = _status(parts[1], _exit_code(parts[2]), parts[3] if len(parts) > 3 else None, None)
            states.setdefault(parts[0].partition("_")[0], []).append(status)
    return states


def left_state(folder: Path) -> Status:
    """Return the state that a script left in the job's folder: the exit code of each run that ended by itself."""
    codes = []
    for path in sorted(folder.glob("exit-*")):
        text = path.read_text(errors="replace").strip()
        codes += [int(text)] if text.isdigit() else []
    runs = read_json(folder / "job.json").get("array", 1)
    if not codes or len(codes) < (runs if isinstance(runs, int) else 1):
        return Status("unknown", detail="Slurm does not know the job")
    return array_state([Status("failed" if code else "succeeded", code) for code in codes])


def array_state(states: list[Status]) -> Status:
    """Return one state for all runs of an array: running while one runs, failed if one has failed."""
    if len(states) < 2:
        return states[0] if states else Status("unknown", detail="Slurm does not know the job")
    names = [status.state for status in states]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    for name in ("running", "pending", *SEVERITY):
        if name in names:
            first = states[names.index(name)]
            return Status(name, first.exit_code, sum(status.restarts for status in states), counts)
    return Status("unknown", detail=counts)


def cancelled_state(status: Status, folder: Path) -> Status:
    """Return the state as it is, or cancelled for a job that we cancelled and that then ended by itself."""
    if status.state in ("failed", "preempted") and (folder / "cancelled").exists():
        return status._replace(state="cancelled")
    return status


def _status(words: str, code: int | None, restarts: object, reason: object) -> Status:
    """Return a status; `words` is a state, or one with a remark such as `CANCELLED by 0`."""
    first = (words.split() or ["?"])[0].rstrip("+").upper()
    state = STATES.get(first, "unknown")
    known = state in ("failed", "succeeded")
    remark = str(reason) if reason not in (None, "", "None") and state in ("pending", "failed") else ""
    detail = f"{first} {remark}".strip()
    return Status(state, code if known else None, int(str(restarts)) if str(restarts).isdigit() else 0, detail)


def _exit_code(text: str) -> int | None:
    """Return the exit code of CODE:SIGNAL, or of a status of wait(2); after a signal it is 128 and the signal's number."""
    code, colon, sign = text.strip().partition(":")
    if not code.isdigit() or (colon and not sign.isdigit()):
        return None
    number, ended_by = (int(code), int(sign)) if colon else (int(code) >> 8, int(code) & 127)
    return number or (128 + ended_by if ended_by else 0)
