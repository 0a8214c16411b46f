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
        DATA_INDEXED,


rule supernet:
    input:
        LONG_RUN_DONE,
        LONG_RUN_REPORTED,


rule learning:
    input:
        LEARNED,


rule fidelity:
    input:
        FIDELITY_REPORTED,


rule ablation:
    input:
        ABLATION_REPORTED,


localrules:
    data,
    supernet,
    learning,
    fidelity,
    ablation,
