"""What subnets predict for a few fixed validation samples, to be kept in `flow_samples.npz` (`runs.flow_samples`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeflownas.nas.arch_codec import format_code
from edgeflownas.runs.flow_samples import FlowSamples
from edgeflownas.training.evaluation import Evaluator, Watch
from edgeflownas.training.labels import true_flow
from edgeflownas.training.run_data import RunData


def take_flow_samples(
    evaluator: Evaluator,
    data: RunData,
    codes: np.ndarray,
    count: int,
    origin: Mapping[str, Any],
    watch: Watch | None = None,
) -> FlowSamples:
    """Predict `count` validation samples with the subnets of one fair cycle, codes (P, blocks)."""
    names, frames, flow = data.examples(count)
    predicted, sigma, batches = evaluator.predict(codes, data.recalibration(), frames, watch)
    return FlowSamples(
        origin={**origin, "bn_recal_batches": batches},
        names=tuple(names),
        codes=tuple(format_code(code) for code in codes),
        frames=np.rint((frames + 1) * 127.5).astype(np.uint8),
        flow=true_flow(flow, evaluator.flow_scale),
        predicted=predicted,
        uncertainty=np.linalg.norm(sigma, axis=-1),
    )
