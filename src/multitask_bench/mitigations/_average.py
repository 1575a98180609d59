"""A trainer's callback that keeps the moving average of the trained weights in their place at the end."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback
from typing_extensions import override


class MovingAverage(TrainerCallback):  # type: ignore[misc]
    """Averages every parameter that has gradients, in float32."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.average = {name: weight.detach().float().clone() for name, weight in _trained(model).items()}

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        for name, weight in _trained(model).items():
            self.average[name].lerp_(weight.detach().float(), 1 - self.decay)

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        with torch.no_grad():
            for name, weight in _trained(model).items():
                weight.copy_(self.average[name])


def _trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
