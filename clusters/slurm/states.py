"""What Slurm's commands say of a job, in our words. Nothing here fails: what cannot be read is unknown."""

from pathlib import Path

from clusters.core.job import State, Status
from clusters.core.job_folder import read_json

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
SEVERITY = ("failed", "cancelled", "preempted", "unknown", "succeeded")  # of an array's runs, what counts first


def parse_queue(text: str) -> dict[str, list[Status]]:
    """squeue --Format=FIELDS, a run of an array a line: JobID_RUN|State|Restarts|wait status|Reason|."""
    found: dict[str, list[Status]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) >= 5 and parts[0][:1].isdigit():
            status = _status(parts[1], _exit_code(parts[3]), parts[2], parts[4])
            found.setdefault(parts[0].partition("_")[0], []).append(status)
    return found


def parse_accounting(text: str) -> dict[str, list[Status]]:
    """sacct -n -P: JobID|State|ExitCode and, with accounting, |Restarts."""
    found: dict[str, list[Status]] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) >= 3 and "." not in parts[0] and parts[0][:1].isdigit():
            status = _status(parts[1], _exit_code(parts[2]), parts[3] if len(parts) > 3 else None, None)
            found.setdefault(parts[0].partition("_")[0], []).append(status)
    return found


def left(folder: Path) -> Status:
    """What the script left in the job's folder: the exit code of each run that ended by itself."""
    codes = []
    for path in sorted(folder.glob("exit-*")):
        text = path.read_text(errors="replace").strip()
        codes += [int(text)] if text.isdigit() else []
    runs = read_json(folder / "job.json").get("array", 1)
    if not codes or len(codes) < (runs if isinstance(runs, int) else 1):
        return Status("unknown", detail="Slurm does not know it")
    return array_state([Status("failed" if code else "succeeded", code) for code in codes])


def array_state(states: list[Status]) -> Status:
    """One state of all of an array's runs: running while one runs, failed where one has failed."""
    if len(states) < 2:
        return states[0] if states else Status("unknown", detail="Slurm does not know it")
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


def _status(words: str, code: int | None, restarts: object, reason: object) -> Status:
    """`words`: a state, or one with a remark such as `CANCELLED by 0`."""
    first = (words.split() or ["?"])[0].rstrip("+").upper()
    state = STATES.get(first, "unknown")
    known = state in ("failed", "succeeded")
    remark = str(reason) if reason not in (None, "", "None") and state in ("pending", "failed") else ""
    detail = f"{first} {remark}".strip()
    return Status(state, code if known else None, int(str(restarts)) if str(restarts).isdigit() else 0, detail)


def _exit_code(text: str) -> int | None:
    """Of CODE:SIGNAL, or of the status that wait(2) gives; what a signal ended has 128 and its number."""
    code, colon, sign = text.strip().partition(":")
    if not code.isdigit() or (colon and not sign.isdigit()):
        return None
    number, ended_by = (int(code), int(sign)) if colon else (int(code) >> 8, int(code) & 127)
    return number or (128 + ended_by if ended_by else 0)
