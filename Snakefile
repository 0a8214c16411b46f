# EdgeFlowNAS: gates, each of which must pass before the next one starts, and the long run after them.
#   snakemake gate4 --profile local
from snakemake.utils import min_version

min_version("9.0")


report: "rules/report/workflow.rst"

include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/gates.smk"
include: "rules/supernet.smk"
include: "rules/learning.smk"
include: "rules/fidelity.smk"


for gate in GATES:

    rule:
        name:
            gate.name
        default_target: gate.name == DEFAULT_TARGET
        localrule: True
        input:
            passable(gate.name),
            passed_until(gate.name),


rule data:
    input:
        DATA_INDEX,


rule supernet:
    input:
        LONG_RUN,
        LONG_RUN_REPORT,


rule learning:
    input:
        LEARNING,


rule fidelity:
    input:
        FIDELITY,


rule ablation:
    input:
        ABLATION,


localrules:
    data,
    supernet,
    learning,
    fidelity,
    ablation,
