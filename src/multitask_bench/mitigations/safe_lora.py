"""Safe LoRA: Hsu et al. (2024), arXiv:2405.16833 (code: IBM/SafeLoRA).

V = W_aligned - W_unaligned. Where cos(C X, X) of the update X = B A is below tau, B becomes C B: what the update
does outside the directions that alignment changed is dropped. No data, no training; about a tenth of the modules
was enough in the paper. Departures:

- Theirs has C = V V^T / ||V||_F, which is no projection: its eigenvalues are s_i^2 / ||V||_F, so that B is also
  rescaled, by a factor that depends on the model. Ours is C = U U^T with the left singular vectors of V that hold
  ``energy`` of ||V||_F^2: applied twice it changes nothing more. The gate is as published, and so is tau.
- Modules are matched by name, not by the order in which two models list them.
- Where alignment changed nothing (V = 0) there is nothing to project onto: the module stays as it is, counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._gate import GatedSpec
from multitask_bench.mitigations._spec import Need, mitigations

if TYPE_CHECKING:
    from multitask_bench.mitigations._lora import Lora, References


@mitigations.add
class SafeLora(GatedSpec):
    """Projects the updates that keep least to the alignment onto its directions; no data, no training."""

    name: ClassVar[str] = "safe_lora"
    needs: ClassVar[frozenset[Need]] = frozenset({"unaligned"})
    energy: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of ||V||_F^2 in the directions that are kept."""

    @override
    def on_adapter(self, adapter: Lora, references: References) -> Lora:
        from multitask_bench.mitigations._subspace import basis, cosine

        cosines = {module: cosine(change, adapter.factors[module]) for module, change in references.changes(adapter)}
        chosen = self.chosen(cosines)
        factors = dict(adapter.factors)
        modules: dict[str, dict[str, Any]] = {m: {"cosine": c, "repaired": m in chosen} for m, c in cosines.items()}
        for module, change in references.changes(adapter, chosen):
            found, kept = adapter.factors[module], basis(change, self.energy)
            inside = kept @ (kept.T @ found.b.to(kept.device).float())
            factors[module] = found._replace(b=inside.to(found.b.dtype).cpu())
            modules[module] |= {"directions": kept.shape[1], "kept": factors[module].norm() / found.norm()}
        return adapter._replace(factors=factors, figures={"modules": modules})
