# Gate 2, model and sampling: output sizes of random subnets, and a fair, repeatable sampler.
SHAPE_CHECK = ["-m", "edgeflownas.nas.model_shape_check", *PLAN.config_flags()]
SHAPE_CHECK += ["--h", CONFIG["network.height"], "--w", CONFIG["network.width"], "--batch", 2, "--samples", 20]
SAMPLER = ["-m", "edgeflownas.nas.fair_sampler", "--space", SPACE, "--cycles", 300, "--seed", 42, "--check"]
GATE2_RUN = run_dir("gate2")

COMMANDS["gate2"] = {
    "model_shape_check": recorded(
        "gate2", "model_shape_check", *SHAPE_CHECK, "--out", f"{GATE2_RUN}/model_shape_check.json"
    ),
    "fair_sampler": recorded("gate2", "fair_sampler", *SAMPLER, "--out", f"{GATE2_RUN}/fair_sampler_check.json"),
    "fair_sampler_repeat": recorded(
        "gate2", "fair_sampler_repeat", *SAMPLER, "--out", f"{GATE2_RUN}/fair_sampler_check_repeat.json", quiet=True
    ),
}
INPUTS["gate2"] = []
RESOURCES["gate2"] = TRAINING
