# The long run. Its run directory is not declared: a killed run continues from its last checkpoint on the next call.
from edgeflownas.gates.lifecycle.long_run import require_cut_short


def verdicts_up_to_date(wildcards):
    """The verdicts of all gates before it; refused, with the reason, while one of them is not up to date."""
    if workflow.is_main_process:
        try:
            require_gates_up_to_date(PLAN)
        except (UserError, OSError) as error:
            refuse(error)
    return [ancient(path) for path in judged([gate.name for gate in BEFORE_LONG_RUN])]


START_LONG_RUN = [PYTHON, "-m", "edgeflownas.gates", "start", "supernet", "--output_dir", OUT, *PLAN.config_flags()]
ACCEPTED = ["--accept_changed_code"] if CONFIG["train.accept_changed_code"] else []
LONG_RUN_DONE = DONE.of("long_run", decides=sha256_of(result_values(CONFIG)))
RECORD_LONG_RUN = recorded("supernet", "train", *SUPERNET, *ACCEPTED, done_file=LONG_RUN_DONE)
LONG_RUN_REPORTED = DONE.of("long_run_report", decides=LONG_RUN_DONE, result=f"{run_dir('supernet')}/report.html")


def submission(wildcards, attempt):
    """How often the job is submitted. Before a second time it is decided whether there should be one."""
    if attempt > 1 and workflow.is_main_process:
        require_cut_short(Path(OUT))
    return attempt


rule long_run:
    input:
        verdicts_up_to_date,
    output:
        LONG_RUN_DONE,
    params:
        start=untracked(START_LONG_RUN),
        record=untracked(RECORD_LONG_RUN),
    log:
        log_of("supernet", "train"),
    benchmark:
        benchmark_of("supernet")
    threads: LONG["threads"]
    resources:
        **asked(LONG),
        submission=submission,
    shell:
        "{params.start:q} && exec {params.record:q}"


rule long_run_report:
    input:
        LONG_RUN_DONE,
    output:
        touch(LONG_RUN_REPORTED),
    params:
        report=untracked([PYTHON, "-m", "edgeflownas.reporting.training_report", "--run_dir", run_dir("supernet")]),
        # It names the report in its navigation.
        provenance=untracked([PYTHON, "-m", "edgeflownas.gates", "page", "--output_dir", OUT]),
    log:
        f"{OUT}/logs/long_run_report.log",
    shell:
        "{{ {params.report:q} && {params.provenance:q}; }}" + TEE


localrules:
    long_run_report,
