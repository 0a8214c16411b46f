# The data set (generated, or the user's folder) and its index.
from edgeflownas.data.generated import SyntheticParameters, already_there

SYNTHETIC = CONFIG["data.source"] == "synthetic"
DATA_ROOT = CONFIG["data.root"]


def data_root():
    if DATA_ROOT is None:
        refuse("data.root is not set: give --config data_root=FOLDER with train/ and val/ in it")
    return DATA_ROOT


def require_place(config):
    """Refuse to generate scenes where something else lies: before Snakemake touches anything, and by dry run, too."""
    try:
        if workflow.is_main_process:
            already_there(config["data.root"], config.view(SyntheticParameters))
    except UserError as error:
        refuse(error)


def folder_state(wildcards):
    """When the user's folders last gained or lost a file: a change makes the index anew."""
    folders = [Path(data_root()) / split for split in ("train", "val")]
    return [folder.stat().st_mtime_ns if folder.is_dir() else None for folder in folders]


def synthetic_command(config):
    """The command that generates the data set a configuration describes."""
    words = ["-m", "edgeflownas.data.synthetic", "--root", config["data.root"]]
    for key in ("train", "val", "height", "width", "seed"):
        words += [f"--{key}", str(config[f"data.synthetic.{key}"])]
    return words


if SYNTHETIC:
    data_root()
    require_place(CONFIG)

    # `update`: Snakemake must not remove what says that the folder's files are generated ones.
    rule synthetic_data:
        output:
            update(f"{data_root()}/synthetic.json"),
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


rule data_index:
    input:
        f"{data_root()}/synthetic.json" if SYNTHETIC else [],
    output:
        DATA_INDEX,
    params:
        command=lambda wildcards: [
            *("-m", "edgeflownas.data.index", "--root", data_root(), "--out", DATA_INDEX),
            *("--height", str(CONFIG["network.height"]), "--width", str(CONFIG["network.width"])),
            *("--max_flow", str(CONFIG["data.max_flow"]), "--on_bad_sample", CONFIG["data.on_bad_sample"]),
            *("--max_bad_fraction", str(CONFIG["data.max_bad_fraction"])),
            *(["--allow_copies"] if CONFIG["data.allow_copies"] else []),
        ],
        folder=[] if SYNTHETIC else folder_state,
    log:
        f"{OUT}/logs/data_index.log",
    benchmark:
        benchmark_of("data_index")
    threads: 2
    resources:
        **asked(LIGHT),
    shell:
        RUN
