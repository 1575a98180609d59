"""SafeMERGE: Djuhera et al. (2025), arXiv:2503.17239 (code: aladinD/SafeMERGE).

Safe LoRA's gate, and below tau the update X = B A of a module becomes (1 - weight) X + weight X_safe, with the
update X_safe of a safety adapter: one trained on the same aligned model with refusals and helpful twins. Other
modules stay to the byte. Departures:

- The sum is exact, by concatenating the factors. PEFT's "linear" combination, which the published code uses, adds
  A to A and B to B: the product then holds B X_safe's A and the reverse. ``rank: keep`` cuts the sum back to the
  rank of the adapter by SVD and reports the error.
- The weights stand in [0, 1] and add up to 1. Where the safety adapter has no such module its update there is 0.
- Modules are matched by name; where alignment changed nothing the module stays, counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._gate import GatedSpec
from multitask_bench.mitigations._safety import SafetyAdapter
from multitask_bench.mitigations._spec import Need, mitigations

if TYPE_CHECKING:
    from multitask_bench.mitigations._lora import Lora, References


@mitigations.add
class SafeMerge(SafetyAdapter, GatedSpec):
    """Merges the updates that keep least to the alignment with those of a safety adapter."""

    name: ClassVar[str] = "safemerge"
    needs: ClassVar[frozenset[Need]] = frozenset({"unaligned", "safety_adapter"})
    weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of the safety adapter in a merged module; the task's is 1 less that."""
    rank: Literal["exact", "keep"] = "exact"
    """The sum at the sum of the ranks, or the nearest one at the adapter's own rank."""

    @override
    def on_adapter(self, adapter: Lora, references: References) -> Lora:
        from multitask_bench.mitigations._lora import check_same_model, summed, truncated
        from multitask_bench.mitigations._subspace import cosine

        safety = references.safety
        assert safety is not None, "a repair that needs a safety adapter is given one"
        check_same_model(adapter, safety)
        cosines = {module: cosine(change, adapter.factors[module]) for module, change in references.changes(adapter)}
        chosen = self.chosen(cosines)
        factors, modules = dict(adapter.factors), {}
        for module, found in adapter.factors.items():
            facts: dict[str, Any] = {"cosine": cosines[module], "repaired": module in chosen}
            if module in chosen:
                both = summed([(1 - self.weight, found), (self.weight, safety.factors.get(module))])
                assert both is not None, "the adapter has this module"
                if self.rank == "keep":
                    both, facts["rank_error"] = truncated(both, found.rank)
                factors[module] = both
            modules[module] = facts
        return adapter._replace(factors=factors, figures={"modules": modules})
