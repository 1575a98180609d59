"""The gate of Safe LoRA and SafeMERGE: how far an update of a module keeps to what alignment changed there.

V = W_aligned - W_unaligned and cos(V V^T X, X) with the update X = B A (Hsu et al. 2024, arXiv:2405.16833,
section 3). Theirs has V V^T / ||V||_F in its place; a cosine does not see the factor, so their thresholds apply.
Only products of rank size are built. Modules are matched by name, where the published code matches by order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from multitask_bench.mitigations._spec import MitigationSpec


class GatedSpec(MitigationSpec):
    """A repair of those modules whose update keeps least to what alignment changed."""

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.35
    """tau: modules with a lower cosine are repaired. 0.35 is the example of SafeMERGE's code, 0.5 Safe LoRA's."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """In place of a threshold: this share of the modules, those of the lowest cosine (Safe LoRA's "number")."""

    def chosen(self, cosines: Mapping[str, float | None]) -> set[str]:
        """The modules to be repaired; None, where alignment changed nothing, is never among them."""
        known = sorted((cosine, module) for module, cosine in cosines.items() if cosine is not None)
        if self.share is not None:
            return {module for _, module in known[: max(1, round(self.share * len(known)))]}
        return {module for cosine, module in known if cosine < self.threshold}
