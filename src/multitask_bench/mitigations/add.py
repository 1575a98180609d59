"""Addition towards a safety adapter: task arithmetic, Ilharco et al. (2023), arXiv:2212.04089.

X becomes X + scale X_safe in every module, with the update X_safe of a safety adapter on the same aligned model.
RESTA (Bhardwaj et al. 2024, arXiv:2402.11746) adds the difference between the aligned model and a copy tuned on
harmful answers, and thins the task's update by DARE. Departures: nothing is tuned on harmful answers and nothing is
subtracted, the safety update comes from refusals and helpful twins; no DARE; the scale stands in [0, 1]: 0 is the
adapter as it is, 1 the whole sum. The sum is exact, by concatenation; ``rank: keep`` as in `safemerge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._safety import SafetyAdapter
from multitask_bench.mitigations._spec import Need, mitigations

if TYPE_CHECKING:
    from multitask_bench.mitigations._lora import Lora, References


@mitigations.add
class Add(SafetyAdapter):
    """Adds a safety adapter, scaled, to the adapter."""

    name: ClassVar[str] = "add"
    needs: ClassVar[frozenset[Need]] = frozenset({"safety_adapter"})
    scale: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the safety adapter."""
    rank: Literal["exact", "keep"] = "exact"
    """The sum at the sum of the ranks, or the nearest one at the adapter's own rank."""

    @override
    def on_adapter(self, adapter: Lora, references: References) -> Lora:
        from multitask_bench.mitigations._lora import check_same_model, summed, truncated

        safety = references.safety
        assert safety is not None, "a repair that needs a safety adapter is given one"
        check_same_model(adapter, safety)
        factors, modules = {}, {}
        for module in sorted(adapter.factors.keys() | (safety.factors.keys() if self.scale else set())):
            found = adapter.factors.get(module)
            both = summed([(1.0, found), (self.scale, safety.factors.get(module))])
            assert both is not None, "one of the two has this module"
            facts: dict[str, Any] = {"repaired": both is not found}
            if self.rank == "keep" and found is not None:
                both, facts["rank_error"] = truncated(both, found.rank)
            factors[module], modules[module] = both, facts
        return adapter._replace(factors=factors, figures={"modules": modules})
