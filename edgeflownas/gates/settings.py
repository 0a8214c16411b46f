"""What gates read of the configuration: for their commands, their requirements and their criteria."""

from dataclasses import dataclass
from typing import Annotated, Any

from edgeflownas.config import VARIANT


@dataclass(frozen=True)
class GateSettings:
    """The keys that the gates' own modules read. What a verdict depends on is another question: `Gate.config_keys`."""

    seed: Annotated[int, "seed"]
    target: Annotated[str | None, "target"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    search_space: Annotated[str, "network.search_space"]
    init_neurons: Annotated[int, "network.init_neurons"]
    data_source: Annotated[str, "data.source"]
    data_root: Annotated[str | None, "data.root"]
    synthetic_train: Annotated[int, "data.synthetic.train"]
    synthetic_val: Annotated[int, "data.synthetic.val"]
    supernet_mode: Annotated[str, "train.supernet_mode"]
    num_epochs: Annotated[int, "train.num_epochs"]
    max_epochs: Annotated[int | None, "train.max_epochs"]
    max_steps: Annotated[int | None, "train.max_steps"]
    batch_size: Annotated[int, "train.batch_size"]
    steps_per_epoch: Annotated[int | None, "train.steps_per_epoch"]
    grad_clip: Annotated[float, "train.grad_clip"]
    early_stop_patience: Annotated[int, "train.early_stop_patience"]
    gpu_device: Annotated[int | None, "train.gpu_device"]
    require_gpu: Annotated[bool, "train.require_gpu"]
    fast_mode: Annotated[bool, "train.fast_mode"]
    fast_steps_per_epoch: Annotated[int, "fast_mode.steps_per_epoch"]
    fast_max_samples: Annotated[int, "fast_mode.max_samples"]
    bn_recal_batches: Annotated[int, "eval.bn_recal_batches"]
    eval_batch_size: Annotated[int, "eval.batch_size"]
    eval_samples: Annotated[int | None, "eval.max_samples"]
    samples: Annotated[int | None, "selection.samples"]
    shards: Annotated[int, "selection.shards"]
    max_tmacs: Annotated[float, "selection.max_tmacs"]
    budget: Annotated[float | None, "selection.budget"]
    picks: Annotated[str | None, "selection.picks"]
    init_from: Annotated[str | None, "train.init_from"]
    retrain_subnets: Annotated[int, "retrain.subnets"]
    retrain_init: Annotated[str, "retrain.init"]
    retrain_must_improve: Annotated[bool, "retrain.must_improve"]
    retrain_changes: Annotated[dict[str, Any], VARIANT]
    deploy_output: Annotated[str, "deploy.output"]
    deploy_resize: Annotated[str, "deploy.resize"]
    deploy_precision: Annotated[str, "deploy.precision"]
    max_epe_loss: Annotated[float, "deploy.max_epe_loss"]
    eval_split: Annotated[str, "eval.split"]
    gate4_batch_size: Annotated[int, "workflow.gate4_batch_size"]
