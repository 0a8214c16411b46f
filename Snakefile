# EdgeFlowNAS: four gates, each of which must pass before the next one starts, and the long run after them.
#   snakemake gate4 --profile local
from snakemake.utils import min_version

min_version("9.0")


report: "rules/report/workflow.rst"

include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/gate1.smk"
include: "rules/gate2.smk"
include: "rules/gate3.smk"
include: "rules/gate4.smk"
include: "rules/gates.smk"
include: "rules/supernet.smk"
include: "rules/learning.smk"
include: "rules/fidelity.smk"


rule gate4:
    default_target: True
    input:
        passable("gate4"),
        passed_until("gate4"),


rule gate1:
    input:
        passable("gate1"),
        passed_until("gate1"),


rule gate2:
    input:
        passable("gate2"),
        passed_until("gate2"),


rule gate3:
    input:
        passable("gate3"),
        passed_until("gate3"),


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
    gate1,
    gate2,
    gate3,
    gate4,
    data,
    supernet,
    learning,
    fidelity,
    ablation,
