"""Whether a network answers alike each time, as every chip of it must."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rramsweep.arrays import private_copy
from rramsweep.fusing import alike


@torch.inference_mode()
def check_steady(model: nn.Module, x: Tensor, name: str) -> None:
    """Refuse a network whose answers hang on more than its weights and each input.

    Args:
        model: in eval mode, returning one tensor; others are left to what evaluates them.
        x: inputs; a few are enough.
        name: of the network, for messages.

    Raises:
        ValueError: it answers otherwise when asked again, in other batches, or as a copy of itself.
    """
    answers, half = model(x), len(x) // 2
    if not isinstance(answers, Tensor) or not answers.isfinite().all():
        return
    answers = answers.clone()  # some networks keep what they return, and write into it
    if not alike(model(x), answers):
        raise ValueError(
            f"a network must give the same answers each time in eval mode, but {name} does not: let dropout and other "
            "draws depend on self.training, and leave no count or state behind in forward"
        )
    if half and not alike(torch.cat([model(x[:half]), model(x[half:])]), answers):
        raise ValueError(
            f"a network must answer each input by itself, but the answers of {name} depend on what else is in the "
            "batch: give batch norms running statistics, and keep inputs along the first axis"
        )
    cause: Exception | None = None
    try:
        if alike(private_copy(model)(x), answers):
            return
    except Exception as error:  # whatever a forward says that misses what its original has
        cause = error
    raise ValueError(
        f"a network must answer alike as a copy of itself, but {name} does not: a hook or closure of it holds a module "
        "or a container of the original; let it use the module that it is given"
    ) from cause
