# Gate 1, foundation: the command line, the configuration and the arch codec.
from edgeflownas.gates.definitions.gate1 import wrong_codes
from edgeflownas.nas.search_space import load_search_space

SPACE = CONFIG["network.search_space"]
CODEC = ["-m", "edgeflownas.nas.arch_codec", "--space", SPACE]
try:
    WRONG = wrong_codes(load_search_space(SPACE))
except UserError as error:
    refuse(error)

COMMANDS["gate1"] = {
    "help": recorded("gate1", "help", *TRAIN, "--help", quiet=True),
    "dry_run": recorded("gate1", "dry_run", *TRAIN, *PLAN.config_flags(), "--dry_run", quiet=True),
    # The same once more, with Python's own listing of every module that it imports.
    "dry_run_imports": recorded(
        "gate1", "dry_run_imports", "-X", "importtime", *TRAIN, *PLAN.config_flags(), "--dry_run", quiet=True
    ),
    "self_test": recorded("gate1", "self_test", *CODEC, "--self_test"),
    "wrong_length": recorded("gate1", "wrong_length", *CODEC, "--describe", WRONG["wrong_length"], expect=2),
    "wrong_digit": recorded("gate1", "wrong_digit", *CODEC, "--describe", WRONG["wrong_digit"], expect=2),
}
INPUTS["gate1"] = []
RESOURCES["gate1"] = LIGHT
