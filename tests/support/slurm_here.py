"""A private Slurm on this machine, for tests: munge, a controller and two nodes, torn down at the end."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.clusters_here import ip, process, until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS = 4  # of each node; more than there are is allowed, with config_overrides
CONF = """
ClusterName=tests
SlurmctldHost={host}({control})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,requeue_delay=1
JobRequeue=1
KillWait=5
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=10
PartitionName=low Nodes=ALL State=UP PriorityTier=1 GraceTime=30
PartitionName=high Nodes=ALL State=UP PriorityTier=100
"""


def missing() -> str:
    """Return the reason that no Slurm can run here; empty where one can."""
    if os.geteuid() != 0:
        return "a private Slurm runs as root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge" if absent else ""


class Slurm:
    """A running Slurm: `environment` is what its clients need."""

    def __init__(self, root: Path):
        self.root = root
        self.environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def __call__(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def state(self, id: str) -> str:
        return self("scontrol", "show", "job", "-o", id).partition("JobState=")[2].split(" ")[0]

    def wait(self, found: Callable[[], bool], seconds: float, log: Path | None = None) -> None:
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, self("scontrol", "show", "job") + (log.read_text() if log else "")
            time.sleep(0.2)


@contextmanager
def slurm(root: Path, namespaces: bool = False) -> Iterator[Slurm]:
    """Two nodes, n1 and n2, on this host's own network or each in a network, host name and mounts of its own."""
    base = 20000 + os.getpid() % 2000 * 5
    bridge = f"10.78.{os.getpid() % 200}"
    control = f"{bridge}.1" if namespaces else "127.0.0.1"
    addresses = [f"{bridge}.{10 + i}" if namespaces else "127.0.0.1" for i in (1, 2)]
    host = socket.gethostname().partition(".")[0]
    nodes = "\n".join(
        f"NodeName=n{i} {'' if namespaces else f'NodeHostname={host} '}NodeAddr={address} Port={base + i} CPUs={CPUS}"
        f" Boards=1 SocketsPerBoard=1 CoresPerSocket={CPUS} ThreadsPerCore=1 RealMemory=4000"
        for i, address in enumerate(addresses, 1)
    )
    root.mkdir(parents=True)
    root.chmod(0o755)
    (root / "state").mkdir()
    (root / "munge.key").write_bytes(os.urandom(128))
    (root / "munge.key").chmod(0o400)
    (root / "slurm.conf").write_text(CONF.format(host=host, port=base, root=root, nodes=nodes, control=control))
    (root / "hosts").write_text(
        f"127.0.0.1 localhost\n{control} {host}\n" + "".join(f"{a} n{i}\n" for i, a in enumerate(addresses, 1))
    )
    here, log, conf = Slurm(root), root / "daemons.log", str(root / "slurm.conf")
    munge = [f"--{name}-file={root}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    with ExitStack() as stack:
        stack.enter_context(
            process("munged", "--foreground", *munge, f"--socket={root}/munge.sock", "--force", log=log)
        )
        until(lambda: (root / "munge.sock").exists(), 10, log)
        if namespaces:
            network(stack, control, addresses)
        stack.enter_context(process("slurmctld", "-D", "-f", conf, "-c", log=log))
        for i in (1, 2):
            (root / f"spool-n{i}").mkdir()
            daemon = ["slurmd", "-D", "-f", conf, "-N", f"n{i}"]
            stack.enter_context(process(*(inside(i, root, daemon) if namespaces else daemon), log=log))
        stack.callback(finish, here)
        until(
            lambda: here("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N").split() == ["n1", "n2"], 30, log
        )
        yield here


def finish(here: Slurm) -> None:
    """No job outlives its Slurm."""
    here("scancel", "--full", "--user=root")
    end = time.monotonic() + 20
    while here("squeue", "-h").strip() and time.monotonic() < end:
        time.sleep(0.2)


def network(stack: ExitStack, control: str, addresses: list[str]) -> None:
    """A bridge with the controller's address, and a namespace for each node."""
    stack.callback(ip, "link", "del", name("b"))
    for command in (
        ("link", "add", name("b"), "type", "bridge"),
        ("addr", "add", f"{control}/24", "dev", name("b")),
        ("link", "set", name("b"), "up"),
    ):
        assert ip(*command), command
    for i, address in enumerate(addresses, 1):
        node = name(f"n{i}")
        stack.callback(ip, "netns", "del", node)
        # by hand, for the kernel lets it go with the namespace, late, and the next network has its name
        stack.callback(ip, "link", "del", f"{node}o")
        for command in (
            ("netns", "add", node),
            ("link", "add", f"{node}o", "type", "veth", "peer", "name", "eth0", "netns", node),
            ("link", "set", f"{node}o", "master", name("b")),
            ("link", "set", f"{node}o", "up"),
            ("-n", node, "addr", "add", f"{address}/24", "dev", "eth0"),
            ("-n", node, "link", "set", "eth0", "up"),
            ("-n", node, "link", "set", "lo", "up"),
        ):
            assert ip(*command), command


def name(part: str) -> str:
    return f"ls{os.getpid() % 10000}{part}"


def inside(i: int, root: Path, command: list[str]) -> list[str]:
    """A command on node i: network, host name, processes and mounts of its own. The first process reaps orphans."""
    script = f"hostname n{i}; mount --bind {root}/hosts /etc/hosts; mkdir -p /tmp/ray; mount -t tmpfs tmpfs /tmp/ray\n"
    script += f"{' '.join(command)} & wait $!"
    enter = ["nsenter", f"--net=/run/netns/{name(f'n{i}')}"]
    return [
        *enter,
        "unshare",
        "--uts",
        "--pid",
        "--mount",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "bash",
        "-c",
        script,
    ]
