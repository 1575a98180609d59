"""A gentler optimizer and nothing else: the first half of Kim et al. (2025), arXiv:2508.12531.

They brought unsafe answers from 16 % to about 5 % by learning rate, batch size and number of steps alone, at equal
utility. The settings here are factors on the arm's own recipe, so that one study serves any recipe. Departures:
their search is over absolute values; a larger batch here sees the same rows once, in fewer steps.
An arm that is safe because it learned less shows in its task skill.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._spec import MitigationSpec, mitigations


@mitigations.add
class Optimiser(MitigationSpec):
    """Lowers the learning rate, warms up for longer, takes larger batches; no safety data."""

    name: ClassVar[str] = "optimiser"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor on the recipe's peak learning rate."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the steps in which the learning rate rises, in place of the recipe's."""
    batch: Annotated[int, Field(ge=1)] = 1
    """Factor on the rows a step; the number of steps falls with it."""

    @override
    def on_trainer(self, trainer: Any) -> Any:
        args = trainer.args
        args.learning_rate *= self.learning_rate
        args.per_device_train_batch_size *= self.batch
        args.max_steps = -(-args.max_steps // self.batch)
        args.warmup_steps = round(args.max_steps * self.warmup_share)
        args.logging_steps = max(1, args.max_steps // 10)
        trainer._train_batch_size = args.train_batch_size  # the trainer read it from the arguments when it was built
        return trainer
