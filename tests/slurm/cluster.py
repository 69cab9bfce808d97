"""A real Slurm on one machine for tests: controller, two nodes with a pretended GPU each, no accounting database.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge. Everything lives in one folder; only links
in /etc/slurm lead out of it, because a job's inner Snakemake is started without SLURM_CONF. Every daemon is ended by
the process id it was started with.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("n1", "n2")
ETC = Path("/etc/slurm")
PROGRAMS = (
    "slurmctld",
    "slurmd",
    "munged",
    "munge",
    "sbatch",
    "squeue",
    "scancel",
    "scontrol",
    "sinfo",
    "srun",
)
PORT = 26817
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # daemons live there, users' paths may not

CONF = """\
ClusterName=senmei
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=2,defer_batch
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=300
OverTimeLimit=0
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes={names} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes={names} MaxTime=1-00:00:00 DefMemPerCPU=500 State=UP
"""


def missing() -> str:
    """Why there can be no cluster here, or ''."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    absent = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    conf = ETC / "slurm.conf"
    if conf.exists() and not conf.is_symlink():
        return f"{conf} belongs to a Slurm of this machine's own, which is left alone"
    return ""


class Cluster:
    """The cluster in a folder. `start()` waits until both nodes are idle; `stop()` ends all that was started."""

    def __init__(self, folder: Path, *, cpus: int = 8, mem_mb: int = 16000) -> None:
        self.folder, self.cpus, self.mem_mb = Path(folder), cpus, mem_mb
        self.daemons: dict[str, subprocess.Popen] = {}
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    # ---- life ----
    def start(self) -> None:
        """Write the configuration and start every daemon."""
        self._configure()
        munge = self.folder / "munge"
        self._daemon(
            "munged", "munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={self.folder}/log/munged.log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._wait("munged", lambda: self._ok("munge", "-n", f"--socket={munge}/socket"))
        conf = self.environment["SLURM_CONF"]
        self._daemon("slurmctld", "slurmctld", "-D", "-f", conf)
        for node in NODES:
            self.start_node(node)
        self._wait("nodes", lambda: self.states().count("idle") == len(NODES))

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, take the links away."""
        if "slurmctld" in self.daemons:
            self.run("scancel", "-u", "root", check=False)
            deadline = time.monotonic() + 15
            while self.jobs() and time.monotonic() < deadline:
                time.sleep(0.3)
        for name in [*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"]:
            self._end(name)
        for link in ETC.glob("*.conf"):
            if link.is_symlink() and self.folder in Path(os.readlink(link)).parents:
                link.unlink()

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon(f"slurmd.{node}", "slurmd", "-D", "-f", self.environment["SLURM_CONF"], "-N", node)

    def crash_node(self, node: str) -> None:
        """Kill a node as a power cut would: its daemon and all that runs on it."""
        victims = {self.daemons[f"slurmd.{node}"].pid}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                inside = f"SLURMD_NODENAME={node}".encode() in (folder / "environ").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                stepd = "slurmstepd" in Path(f"/proc/{parent}/comm").read_text()
            except (OSError, ValueError):
                continue
            if inside:
                victims |= {int(folder.name)} | ({parent} if stepd else set())
        for pid in victims:
            _kill(pid, signal.SIGKILL)
        self.daemons.pop(f"slurmd.{node}").wait(10)

    def recover_node(self, node: str) -> None:
        """Bring a crashed node back."""
        self.start_node(node)
        self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self._wait(node, lambda: "down" not in "".join(self.states()))

    # ---- asking ----
    def run(self, *command: str, check: bool = True) -> str:
        """What a Slurm command printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def states(self) -> list[str]:
        """State of each node."""
        return self.run("sinfo", "-h", "-N", "-p", "cpu", "-o", "%T", check=False).split()

    def jobs(self, *options: str) -> list[dict[str, str]]:
        """Jobs in the queue: id, state, name, comment, node, resources asked for."""
        keys = {
            "id": "JobID",
            "state": "State",
            "comment": "Comment",
            "node": "NodeList",
            "cpus": "NumCPUs",
            "memory": "MinMemory",
            "gpus": "tres-per-job",
            "limit": "TimeLimit",
            "partition": "Partition",
        }
        text = self.run(
            "squeue", "-h", "-O", ",".join(f"{key}:|" for key in keys.values()), *options, check=False
        )
        return [dict(zip(keys, line.split("|")[:-1], strict=True)) for line in text.splitlines()]

    # ---- inside ----
    def _configure(self) -> None:
        for name in ("etc", "run", "log", "state", "munge", "dev", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.folder / "munge"):
            folder.chmod(0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        device = self.folder / "dev" / "nvidia0"
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null, named like a GPU
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORT + n} CPUs={self.cpus} Boards=1 "
            f"SocketsPerBoard=1 CoresPerSocket={self.cpus} ThreadsPerCore=1 RealMemory={self.mem_mb} Gres=gpu:1"
            for n, node in enumerate(NODES, start=1)
        )
        etc = self.folder / "etc"
        text = CONF.format(folder=self.folder, host=host, port=PORT, nodes=nodes, names=",".join(NODES))
        (etc / "slurm.conf").write_text(text, encoding="utf-8")
        gres = "".join(f"NodeName={node} Name=gpu File={device}\n" for node in NODES)
        (etc / "gres.conf").write_text(f"AutoDetect=off\n{gres}", encoding="utf-8")
        (etc / "cgroup.conf").write_text("CgroupPlugin=autodetect\nConstrainDevices=no\n", encoding="utf-8")
        ETC.mkdir(exist_ok=True)
        for conf in etc.glob("*.conf"):
            link = ETC / conf.name
            link.unlink(missing_ok=True)
            link.symlink_to(conf)

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        daemon = self.daemons.pop(name, None)
        if daemon is None or daemon.poll() is not None:
            return
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(10)

    def _ok(self, *command: str) -> bool:
        return (
            subprocess.run(
                command, env=self.environment, capture_output=True, timeout=20, check=False
            ).returncode
            == 0
        )

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}"
                    for log in (self.folder / "log").glob("*")
                )
                raise TimeoutError(f"{what} did not come up in {seconds} s\n{logs}")
            time.sleep(0.2)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
