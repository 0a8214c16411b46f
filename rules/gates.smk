# The rules of every gate: begin an attempt, run its commands one after another, judge it. One group, so one Slurm job.
# All that they declare are done files, in a folder of each attempt's own.
for gate in [gate.name for gate in GATES]:

    rule:
        name:
            f"{gate}_start"
        input:
            passable(gate),
            judged_before(gate),
            INPUTS[gate],
        output:
            ticket_of(gate, "start"),
        params:
            command=untracked(start(gate)),
        log:
            log_of(gate, "start"),
        benchmark:
            benchmark_of("start", gate)
        group:
            gate
        threads: LIGHT["threads"]
        resources:
            **asked(LIGHT),
        shell:
            "exec {params.command:q} > >(tee {log:q}) 2>&1"

    for before, name in zip(["start", *COMMANDS[gate]], COMMANDS[gate]):

        rule:
            name:
                f"{gate}_{name}"
            input:
                ticket_of(gate, before),
            output:
                ticket_of(gate, name),
            params:
                trigger=PLAN.triggers[gate],
                command=untracked(COMMANDS[gate][name]),
            log:
                log_of(gate, name),
            benchmark:
                benchmark_of(name, gate)
            group:
                gate
            threads: RESOURCES[gate]["threads"]
            resources:
                **asked(RESOURCES[gate]),
            shell:
                "exec {params.command:q}"

    rule:
        name:
            f"{gate}_judge"
        input:
            [ticket_of(gate, name) for name in COMMANDS[gate]],
        output:
            ticket_of(gate, "judge"),
        params:
            command=untracked(judge(gate)),
        log:
            log_of(gate, "judge"),
        benchmark:
            benchmark_of("judge", gate)
        group:
            gate
        threads: LIGHT["threads"]
        resources:
            **asked(LIGHT),
        shell:
            "exec {params.command:q}"
