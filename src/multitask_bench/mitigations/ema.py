"""An exponential moving average of what is trained: Kim et al. (2025), arXiv:2508.12531.

theta_ema <- eta * theta_ema + (1 - eta) * theta after every optimizer step, from the aligned model on; the average
is what is kept. It needs no safety data, and so tells what the optimizer alone does to the guardrails.
Departures: they average all weights; we average what is trained, the factors A and B of LoRA, whose product is
not the average of the products. With B = 0 at the start the average starts at the aligned model too. Their eta
could not be recovered; the default is for runs of some tens of steps, in which 0.9 forgets the start
(0.9^32 = 3 %) and 0.99 hardly leaves it. Training itself goes on from the weights as they are, not from the average.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._spec import MitigationSpec, mitigations


@mitigations.add
class Ema(MitigationSpec):
    """Keeps the moving average of the trained weights; no safety data."""

    name: ClassVar[str] = "ema"
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """eta: the share of the average that each step keeps; 0 keeps the last weights."""

    @override
    def on_trainer(self, trainer: Any) -> Any:
        from multitask_bench.mitigations._average import MovingAverage

        trainer.add_callback(MovingAverage(self.decay))
        return trainer
