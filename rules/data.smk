# The data set (generated, or the user's folder) and its index.
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.data.generated import SyntheticParameters, already_there

SYNTHETIC = CONFIG["data.source"] == "synthetic"
DATA_ROOT = CONFIG["data.root"]
# What waits for generated scenes waits for their done file.
SCENES_MADE = []


def data_root():
    if DATA_ROOT is None:
        refuse("data.root is not set: give --config data_root=FOLDER")
    return DATA_ROOT


def require_place(config):
    """Refuse to generate scenes where something else lies: before Snakemake touches anything, and by dry run, too."""
    try:
        if workflow.is_main_process:
            already_there(config["data.root"], config.view(SyntheticParameters))
    except UserError as error:
        refuse(error)


def data_state():
    """What makes the index and the overfit set out of date: other scenes, another root, or files added or deleted."""
    if SYNTHETIC or DATA_ROOT is None:
        return SCENES_MADE
    splits = [changed_at(split) for split in SPLITS]
    # Other layouts have other folders; deeper ones are looked at when a run starts.
    deeper = sorted(str(path) for form in ("*", "*/*") for path in Path(DATA_ROOT).glob(form) if os.path.isdir(path))
    if os.path.isfile(DATA_ROOT):
        return [DATA_ROOT, os.stat(DATA_ROOT).st_mtime_ns]
    return [DATA_ROOT, *splits, *([] if any(splits) else map(changed_at, deeper))]


def changed_at(split):
    """When a folder of the data last gained or lost a file; None where there is none."""
    try:
        return os.stat(Path(DATA_ROOT) / split).st_mtime_ns
    except OSError:
        return None


def synthetic_command(config):
    """The command that generates the data set a configuration describes."""
    words = ["-m", "edgeflownas.data.synthetic", "--root", config["data.root"]]
    for key in ("train", "val", "height", "width", "seed", "kind", "max_motion"):
        words += [f"--{key}", str(config[f"data.synthetic.{key}"])]
    return words


def scenes_made(rule, config):
    """The done file of a rule that generates the data set a configuration describes."""
    return DONE.of(rule, decides=synthetic_command(config), result=f"{config['data.root']}/synthetic.json")


def indexed(gate):
    """What a gate that uses the data waits for. One that passed was held against this index, by its digest."""
    return ancient(DATA_INDEXED) if gate in PLAN.up_to_date else DATA_INDEXED


if SYNTHETIC:
    data_root()
    require_place(CONFIG)

    SCENES_MADE = [scenes_made("synthetic_data", CONFIG)]

    rule synthetic_data:
        output:
            touch(SCENES_MADE[0]),
        params:
            command=synthetic_command(CONFIG),
        log:
            f"{OUT}/logs/synthetic_data.log",
        benchmark:
            benchmark_of("synthetic_data")
        threads: 2
        resources:
            **asked(LIGHT),
        shell:
            RUN


def index_command():
    """The command that builds the data index."""
    words = ["-m", "edgeflownas.data.index", "--root", str(DATA_ROOT), "--out", DATA_INDEX]
    words += ["--height", str(CONFIG["network.height"]), "--width", str(CONFIG["network.width"])]
    words += ["--max_flow", str(CONFIG["data.max_flow"]), "--on_bad_sample", CONFIG["data.on_bad_sample"]]
    words += ["--max_bad_fraction", str(CONFIG["data.max_bad_fraction"])]
    for key in ("layout", "passes"):
        words += [f"--{key}", CONFIG[f"data.{key}"]] if CONFIG[f"data.{key}"] not in ("auto", "all") else []
    return words + (["--allow_copies"] if CONFIG["data.allow_copies"] else [])


DATA_INDEXED = DONE.of("data_index", decides=[index_command(), data_state()], result=DATA_INDEX)
if workflow.is_main_process and not Path(DATA_INDEXED).exists():
    # Gates that passed with the index of before must see the new one; and in their order.
    PLAN = PLAN.run_again([gate.name for gate in GATES if gate.uses_data])


rule data_index:
    input:
        SCENES_MADE,
    output:
        touch(DATA_INDEXED),
    params:
        command=lambda wildcards: index_command() if data_root() else [],
    log:
        f"{OUT}/logs/data_index.log",
    benchmark:
        benchmark_of("data_index")
    threads: 2
    resources:
        **asked(LIGHT),
    shell:
        RUN
