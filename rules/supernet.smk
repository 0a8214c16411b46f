# The long run. Its run directory is not declared: a killed run continues from its last checkpoint on the next call.
def standing_verdicts(wildcards):
    """The verdicts of all gates; refused, with the reason, while one of them does not stand."""
    if workflow.is_main_process:
        try:
            standing_gates(PLAN)
        except UserError as error:
            refuse(error)
    return [ancient(path) for path in verdicts_until(GATES[-1].name)]


rule long_run:
    input:
        standing_verdicts,
    output:
        LONG_RUN,
    params:
        config_hash=CONFIG.hash,
        start=[PYTHON, "-m", "edgeflownas.gates", "start", "supernet", "--output_dir", OUT, *PLAN.config_flags()],
        record=[
            *(PYTHON, "-m", "edgeflownas.gates", "record", "supernet", "train", "--output_dir", OUT),
            *("--ticket", LONG_RUN, "--log", f"{OUT}/logs/supernet.log", "--", PYTHON, *map(str, SUPERNET)),
        ],
    log:
        f"{OUT}/logs/supernet.log",
    benchmark:
        f"{OUT}/benchmarks/supernet.tsv"
    threads: LONG["threads"]
    resources:
        **asked(LONG),
    shell:
        "{params.start:q} && exec {params.record:q}"
