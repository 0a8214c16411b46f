# The rules of every gate of the list: begin an attempt, run its commands one after another, judge it. One group, so one
# Slurm job; the parts of a split command run side by side, each in a job of its own. All that they declare are done
# files, in a folder of each attempt's own.
from edgeflownas.gates.gate import Context

CONTEXT = Context(
    config=CONFIG,
    space=SPACE,
    output_dir=OUT,
    config_flags=PLAN.config_flags(),
    data_flags=WITH_DATA,
    long_run=SUPERNET,
    long_run_resources=LONG,
)


def recorded_by_gate(gate, command):
    """What makes, of the resources of its job, the command line of one of a gate's commands."""

    def made(resources):
        words = command.words(replace(CONTEXT, job=resources))
        return recorded(gate.name, command.name, *words, expect=command.expect, quiet=command.quiet)

    return made


CLASSES = {"light": LIGHT, "training": TRAINING, "long": LONG}

for gate in GATES:

    rule:
        name:
            f"{gate.name}_start"
        input:
            passable(gate.name),
            judged_before(gate.name),
            [indexed(gate.name)] if gate.uses_data else [],
        output:
            done_file_of(gate.name, "start"),
        params:
            command=untracked(start(gate.name)),
        log:
            log_of(gate.name, "start"),
        benchmark:
            benchmark_of("start", gate.name)
        # The owner of several jobs is the Snakemake run that waits for them, not one of them.
        localrule: gate.is_split
        group:
            None if gate.is_split else gate.name
        threads: LIGHT["threads"]
        resources:
            **asked(LIGHT),
        shell:
            "exec {params.command:q}" + TEE

    WAITED_FOR = [done_file_of(gate.name, "start")]
    for step in gate.steps(CONFIG):
        for command in step:
            CLASS = CLASSES[command.resources or gate.resources]

            rule:
                name:
                    f"{gate.name}_{command.name}"
                input:
                    WAITED_FOR,
                output:
                    done_file_of(gate.name, command.name),
                params:
                    trigger=PLAN.triggers[gate.name],
                    command=untracked(recorded_by_gate(gate, command)),
                log:
                    log_of(gate.name, command.name),
                benchmark:
                    benchmark_of(command.name, gate.name)
                group:
                    gate.name if command.part is None else None
                threads: CLASS["threads"]
                resources:
                    **asked(CLASS),
                shell:
                    "exec {params.command:q}"

        WAITED_FOR = [done_file_of(gate.name, command.name) for command in step]

    rule:
        name:
            f"{gate.name}_judge"
        input:
            [done_file_of(gate.name, name) for name in gate.command_names(CONFIG)],
        output:
            done_file_of(gate.name, "judge"),
        params:
            command=untracked(judge(gate.name)),
        log:
            log_of(gate.name, "judge"),
        benchmark:
            benchmark_of("judge", gate.name)
        group:
            gate.name
        threads: LIGHT["threads"]
        resources:
            **asked(LIGHT),
        shell:
            "exec {params.command:q}"
