# What all rules share: the configuration, names of files, and how a command is recorded. Imports nothing heavy.
import os
import sys
from dataclasses import replace
from pathlib import Path

from edgeflownas.artifacts import sha256_of
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError, one_line
from edgeflownas.slurm import check_feasible
from edgeflownas.gates.registry import BEFORE_LONG_RUN, DEFAULT_TARGET, GATES, find_gate
from edgeflownas.gates.workflow.log_filter import LogFilter
from edgeflownas.gates.lifecycle.recorder import now
from edgeflownas.gates.lifecycle.reports import failures_since
from edgeflownas.gates.requirements import require_passable
from edgeflownas.gates.lifecycle.starting import close_ended
from edgeflownas.gates.workflow.done_files import DoneFiles
from edgeflownas.gates.workflow.targets import require_targets
from edgeflownas.gates.workflow.plan import (
    forced_gates,
    plan_workflow,
    require_package_beside,
    lock_output_dir,
    require_gates_up_to_date,
    require_long_run_for,
)
from edgeflownas.nas.search_space import load_search_space, result_values
from edgeflownas.source_code import training_source
from snakemake.cli import get_argument_parser
from snakemake.logging import logger

STARTED = now()
LOG_FILTER = LogFilter()
logger.addFilter(LOG_FILTER)


def refuse(error):
    """End with one sentence and exit code 2; Snakemake would wrap an exception into a trace of the Snakefile.

    `error` is the sentence, or an exception; one that is a bug keeps its trace.
    """
    sentence = error if isinstance(error, str) else one_line(error)
    if sentence is None:
        raise error
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


# Snakemake's own view of the command line comes after the rules are parsed; what is forced decides about them.
TYPED = get_argument_parser().parse_known_args(sys.argv[1:])[0]
FORCED = {*TYPED.forcerun, *((TYPED.targets or [DEFAULT_TARGET]) if TYPED.force else [])}

try:
    require_package_beside(Path(workflow.basedir))
    PLAN = plan_workflow(
        workflow.overwrite_configfiles,
        workflow.config_settings.config,
        default=Path(workflow.basedir) / "config" / "config.yaml",
        main=workflow.is_main_process,
        forced=forced_gates(FORCED, TYPED.forceall),
    )
    SPACE = load_search_space(PLAN.config["network.search_space"])
    if workflow.is_main_process:
        require_targets([*TYPED.targets, *TYPED.forcerun], Path(PLAN.output_dir), SPACE)
        if not TYPED.dryrun and (TYPED.no_hooks or TYPED.delete_all_output or TYPED.delete_temp_output):
            # Snakemake's hook, which takes it otherwise, is not called then; others may look beside a run.
            LOCK = lock_output_dir(Path(PLAN.output_dir))
except (UserError, OSError) as error:
    refuse(error)

CONFIG = PLAN.config
OUT = PLAN.output_dir
PYTHON = sys.executable
TRAIN = ["-m", "edgeflownas.train_supernet"]
DATA_INDEX = f"{OUT}/data_index.json"
# What a rule declares in place of its results, so that Snakemake never deletes those.
DONE = DoneFiles(OUT, FORCED, TYPED.forceall, main=workflow.is_main_process)
# For commands that only look at code and config, for those that train a little, and for the long run. The minutes of a
# gate's commands add up to the time limit of its Slurm job.
GPU = int(CONFIG["train.require_gpu"])
LIGHT = {"threads": 1, "mem_mb": 2000, "runtime": 10, "gpu": 0}
TRAINING = {"threads": 8, "mem_mb": 16000, "runtime": 60, "gpu": GPU}
LONG = {"threads": 8, "mem_mb": 32000, "runtime": 1440, "gpu": GPU}
# What a command says goes to the terminal and to the rule's log, and its exit code is the rule's.
TEE = " > >(tee {log:q}) 2>&1"
RUN = "exec {PYTHON:q} {params.command:q}" + TEE
# Only to the log.
QUIETLY = "exec {PYTHON:q} {params.command:q} > {log:q} 2>&1"

# How often Slurm may cut the long run short before it is left to its owner.
LONG_RUN_SUBMISSIONS = 20


def asked(resources):
    """What a rule asks for besides threads; a GPU only where the config requires one."""
    return {name: amount for name, amount in resources.items() if name != "threads" and amount}


def verdict(gate):
    """The path of a gate's verdict after it passed."""
    return f"{OUT}/gates/{gate}.json"


def judged_before(gate):
    """What a gate waits for: the verdicts of all gates before it; nothing if its own is up to date.

    Whether a gate is up to date is decided by digests, not by the age of files. So a gate before it may run again
    (because it depends on more of the config) without taking this one along.
    """
    names = [other.name for other in GATES]
    return [] if gate in PLAN.up_to_date else judged(names[: names.index(gate)])


def judged(gates):
    """The done files of these gates' judges, of the gates that Snakemake may look at."""
    return [done_file_of(gate, "judge") for gate in gates if gate not in PLAN.hidden]


def passable(gate):
    """An input function that names no file: refused where no attempt at a gate, or one before it, could pass, and where
    the gate comes after a long run that has not passed.

    Snakemake calls it when a gate is asked for, by a dry run too. Studies and the data ask for none.
    """

    def nothing(wildcards):
        if workflow.is_main_process:
            try:
                require_passable(GATES[: find_gate(gate).number], CONFIG, Path(DATA_INDEX))
                require_long_run_for(find_gate(gate), PLAN)
            except (UserError, OSError) as error:
                refuse(error)
        return []

    return nothing


def passed_until(gate):
    """The inputs of a target: its own verdict and those before it, and the artifacts of gates that are up to date.

    The latter is there for Snakemake's report alone: no rule declares it, so that nothing deletes it.
    """
    stages = [other for other in GATES if other.number <= find_gate(gate).number]
    asked_for = judged([stage.name for stage in stages])
    for stage in (stage for stage in stages if stage.name in PLAN.up_to_date):
        asked_for += [DATA_INDEXED] if stage.uses_data else []
        asked_for += [shown(verdict(stage.name), stage, caption="verdict")]
        # Not checkpoints, nor folders: the report carries its files with it. The verdict names them with their digests.
        for path, name in zip(stage.publishes_in(SPACE), stage.publishes):
            left_out = path.endswith((".ckpt", "/"))
            asked_for += [] if left_out else [shown(f"{OUT}/{path}", stage, caption=Path(name).name)]
    return asked_for


def done_file_of(gate, name):
    """What a command of a gate leaves for Snakemake when it went well."""
    return PLAN.done_file(gate, name)


def log_of(gate, name):
    """A gate's latest log of a command; those of all attempts are kept in the attempts' folders."""
    return f"{OUT}/gates/{gate}/logs/{name}.log"


def benchmark_of(name, gate=None):
    """Where Snakemake writes what a rule took; `python -m benchmarks.workflow` adds them up."""
    return f"{OUT}/benchmarks/{gate}/{name}.tsv" if gate else f"{OUT}/benchmarks/{name}.tsv"


def shown(path, gate, caption):
    """A file that a gate publishes, for `snakemake --report`, with its caption in rules/report/."""
    title = f"Gate {gate.number}: {gate.title}"
    labels = {"artifact": str(Path(path).relative_to(OUT))}
    return report(path, caption=f"rules/report/{caption}.rst", category=title, labels=labels)


def run_dir(name):
    """A run directory: never declared, so that nothing in it is deleted."""
    return f"{OUT}/runs/{name}"


def start(gate):
    """The command that begins an attempt at a gate."""
    stage = [PYTHON, "-m", "edgeflownas.gates", "start", gate, "--output_dir", OUT]
    return stage + ["--trigger", str(PLAN.triggers[gate]), *PLAN.config_flags(), "--done_file", done_file_of(gate, "start")]


def recorded(gate, name, *command, expect=0, quiet=False, done_file=None):
    """`python -m …`, run by the recorder: the attempt keeps argv, exit code, seconds, memory and log."""
    flags = ["--output_dir", OUT, "--log", log_of(gate, name), "--done_file", done_file or done_file_of(gate, name)]
    flags += ["--expect", str(expect)] if expect else []
    flags += ["--quiet"] if quiet else []
    return [PYTHON, "-m", "edgeflownas.gates", "record", gate, name, *flags, "--", PYTHON, *map(str, command)]


def judge(gate):
    """The command that judges a gate, and publishes when it passes."""
    flags = ["--output_dir", OUT, "--log", log_of(gate, "judge"), "--done_file", done_file_of(gate, "judge")]
    return [PYTHON, "-m", "edgeflownas.gates", "judge", gate, *flags]


def untracked(command):
    """A command, or what makes it of the rule's resources, as a param that is not compared with the last run's.

    It compares no param that is derived from threads; this one only says so. Whether a gate must run again is its
    trigger's business alone: a command may name the same data by another path.
    """

    def derived(wildcards, threads, resources):
        return command(resources) if callable(command) else command

    return derived


def study_plan(name):
    """A study's own file, with what was typed after `--config` about seed, network and training."""
    typed = {key: value for key, value in PLAN.overrides.items() if key.startswith(("seed", "network.", "train.", "eval."))}
    file = study_file(name)
    try:
        config = resolve_config(file, typed)
    except UserError:
        # Both may contradict one another. The study's commands say so; the gates, which it does not concern, go on.
        config = resolve_config(file, {})
    return replace(PLAN, config_path=file, overrides=typed, config=config)


def decides(study):
    """Digest of what a study's runs depend on besides their command and their data."""
    return sha256_of({"source": TRAINING_SOURCE, "values": result_values(study.config)})


def study_file(name):
    """A study's config file, as one would type it."""
    return os.path.relpath(Path(workflow.basedir) / "config" / name)


def jobs_to_submit():
    """Gate or rule, threads and resources of each job that is not run on this machine."""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    return [(job.rule.group or job.rule.name, job.threads, dict(job.resources.items())) for job in jobs]


WITH_DATA = PLAN.config_flags(data__index=DATA_INDEX)
TRAINING_SOURCE = training_source()
# The long run, as `snakemake supernet` and both launch scripts run it.
SUPERNET = [*TRAIN, *WITH_DATA, "--output_dir", run_dir("supernet"), "--resume", "auto"]


onstart:
    try:
        LOCK = lock_output_dir(Path(OUT))
        if workflow.non_local_exec:
            check_feasible(jobs_to_submit())
            # Only here: retries make no sense on this machine or inside a job.
            workflow.get_rule("long_run").restart_times = LONG_RUN_SUBMISSIONS - 1
    except (UserError, OSError) as error:
        refuse(error)


onerror:
    if workflow.non_local_exec:
        close_ended(Path(OUT), STARTED)
    failures = failures_since(STARTED, Path(OUT))
    if workflow.non_local_exec:
        # On this machine the gate has said it itself.
        for text in failures:
            print(text, file=sys.stderr)
    for message in LOG_FILTER.held if not failures else []:
        print(message, file=sys.stderr)
