"""A real Slurm with one node, in one folder: munge with a key of its own, a controller, and a node daemon.

As a script: `python -m tests.slurm.one_node up FOLDER` prints the line that makes a shell use it, and `… down FOLDER`
takes it down. `up` first takes down what an earlier one left in that folder, also after a crash.
"""

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
NODE = "one"
# More than the machine has, so that jobs which ask for what real training needs run here, side by side.
CPUS, MEMORY_MB = 32, 100_000
CONFIGURATION = """
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={node} MaxTime=5 State=UP
"""


def missing_programs() -> list[str]:
    """Which of Slurm's and munge's programs are not installed."""
    return [name for name in (*DAEMONS, "sbatch", "srun", "sinfo") if _program(name) is None]


def start(folder: Path) -> dict[str, str]:
    """Start Slurm in `folder`, which is emptied, and wait until it takes jobs.

    Returns:
        The environment variables with which Slurm's clients find it.

    Raises:
        RuntimeError: the node is not ready after 30 s; quotes the daemons' logs.
    """
    stop(folder)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    # munge wants its socket to be reachable for all, whatever the umask.
    for reachable in (folder, folder / "munge"):
        reachable.chmod(0o755)
    key = folder / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder,
            ports=_free_ports(2),
            user=pwd.getpwuid(os.getuid()).pw_name,
            node=NODE,
            cpus=CPUS,
            memory_mb=MEMORY_MB,
        )
    )
    # Snakemake's plugin takes SLURM_CONF from the environment of a job's step, which then finds no cluster.
    wrapper = folder / "bin/srun"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={shlex.quote(str(configuration))} exec {_program("srun")} "$@"\n')
    wrapper.chmod(0o755)
    variables = {"SLURM_CONF": str(configuration), "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    files = {"key-file": key, "socket": folder / "munge/socket", "seed-file": folder / "munge/seed"}
    files |= {"pid-file": folder / "munged.pid", "log-file": folder / "munged.log"}
    _launch(["munged", *(f"--{name}={path}" for name, path in files.items())], variables)
    _launch(["slurmctld", "-f", str(configuration)], variables)
    _launch(["slurmd", "-f", str(configuration), "-N", NODE], variables)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = subprocess.run(
            ["sinfo", "--noheader", "--format", "%T"], env=os.environ | variables, capture_output=True, text=True
        )
        if answer.stdout.split()[:1] == ["idle"]:
            return variables
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    stop(folder)
    raise RuntimeError(f"Slurm did not start in {folder}:\n{answer.stderr}\n{logs}")


def stop(folder: Path) -> None:
    """End the jobs and daemons of a Slurm in `folder`, and remove the folder; nothing if there is none."""
    if not folder.exists():
        return
    if (folder / "slurm.conf").is_file() and _daemon(folder, "slurmctld"):
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        subprocess.run(["scancel", "--user", str(os.getuid())], env=environment, capture_output=True, check=False)
        _wait(lambda: not subprocess.run(["squeue", "-h"], env=environment, capture_output=True).stdout, seconds=35)
    for name in reversed(DAEMONS):
        pid = _daemon(folder, name)
        if pid:
            os.kill(pid, signal.SIGTERM)
            if not _wait(lambda name=name: _daemon(folder, name) is None, seconds=10):  # type: ignore[misc]
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def _daemon(folder: Path, name: str) -> int | None:
    """The daemon's process, if the one that its pid file names still is that daemon, of this folder."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    return pid if name in words and str(folder) in words else None


def _launch(command: list[str], variables: dict[str, str]) -> None:
    program = _program(command[0])
    if program is None:
        raise RuntimeError(f"{command[0]} is not installed")
    answer = subprocess.run([program, *command[1:]], env=os.environ | variables, stderr=subprocess.PIPE, text=True)
    if answer.returncode:
        raise RuntimeError(f"{command[0]} ended with {answer.returncode}: {answer.stderr}")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def main(action: str, folder: str) -> None:
    """`up` or `down`."""
    where = Path(folder).absolute()
    if action == "down":
        stop(where)
        return
    for name, value in start(where).items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
