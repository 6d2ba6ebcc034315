"""A SLURM cluster of one node on this machine, from Debian's packages, with all its files in one folder."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
SECONDS = 120
CONF = """
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credentials have expired; the default is two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=20
SchedulerParameters=sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=high Nodes={host} MaxTime=INFINITE PriorityTier=2 State=UP
"""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


@contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd below ``folder``; yield an environment for SLURM's commands."""
    environment = os.environ | {"PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    facts = {"controller": _port(), "node": _port(), "user": getpass.getuser(), "host": socket.gethostname()}
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, cpus=cpus, **facts))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = [f"--{option}={folder}/munge.{option.removesuffix('-file')}"
             for option in ("socket", "key-file", "log-file", "pid-file", "seed-file")]  # fmt: skip
    with ExitStack() as stack:
        for command in (
            ["munged", "--foreground", "--force", *munge],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
        ):
            output = stack.enter_context((folder / f"{command[0]}.out").open("wb"))
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            stack.callback(_end, process)
            if command[0] == "munged":
                until((folder / "munge.socket").exists, "munged listens")
        until(lambda: "idle" in ask(environment, "sinfo", "--noheader", "--format=%T"), "the node is idle")
        yield environment
        subprocess.run(["scancel", "--me", "--signal=KILL"], env=environment, check=False)
        until(lambda: not ask(environment, "squeue", "--noheader", "--states=running"), "no job runs")


def ask(environment: dict[str, str], *command: str) -> str:
    """Return the standard output of a command, without surrounding whitespace."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def until(true: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until ``true()`` is true.

    Raises:
        TimeoutError: it is still false after ``seconds``.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.1)


def _path() -> str:
    return f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
