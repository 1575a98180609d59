"""An adapter repaired without training: read, put through the mitigations' hooks, written, and what was done to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multitask_bench.errors import MissingExtraError, ModelError
from multitask_bench.mitigations import MitigationSpec
from multitask_bench.models.load import ADAPTER_CONFIG, adapter_config, cached_folder, hub_id

Figures = dict[str, Any]

ROUNDING = 1e-5
"""A module whose update moved by no more than this share of its norm was not changed."""


def repair_adapter(
    specs: Sequence[MitigationSpec],
    adapter: Path,
    *,
    aligned: Path,
    unaligned: Path | None,
    safety: Path | None,
    out: Path,
) -> list[Figures]:
    """Write what the mitigations make of a PEFT folder to ``out``, a PEFT folder.

    Returns: for each mitigation: name, settings, modules (in all, repaired: those it chose, changed: those whose
    update is another matrix than before, without a reference), the norm of the update after over before, the largest
    error of a cut rank, and each module's own figures.
    Raises: ConfigError: aligned and unaligned are equal. ModelError: an adapter that cannot be repaired, or that
    was trained on another model than ``aligned``.
    """
    try:
        from multitask_bench.mitigations._lora import References, read_lora, write_lora
    except ImportError as err:
        raise MissingExtraError.of("repairing an adapter", "local") from err
    for path in (adapter, safety):
        if path is not None:
            check_base(path, aligned)
    found = read_lora(adapter)
    references = References(aligned, unaligned, read_lora(safety) if safety is not None else None)
    figures = []
    for spec in specs:
        given, before = found, _norm(found)
        found = spec.on_adapter(given, references)
        modules = found.figures.get("modules", {})
        errors = [m["rank_error"] for m in modules.values() if "rank_error" in m]
        figures.append(
            {
                "name": spec.name,
                "settings": spec.told(),
                "modules": len(modules),
                "repaired": sum(bool(m["repaired"]) for m in modules.values()),
                "changed": _changed(given, found),
                "no_reference": sum("cosine" in m and m["cosine"] is None for m in modules.values()),
                "norm_kept": _norm(found) / before if before else None,
                "rank": max(f.rank for f in found.factors.values()),
                "rank_error": max(errors) if errors else None,
                "by_module": modules,
            }
        )
    write_lora(found, out)
    return figures


def _changed(before: Any, after: Any) -> int:
    """In how many modules two adapters add another matrix, beyond rounding."""
    from multitask_bench.mitigations._lora import summed

    count = 0
    for module in before.factors.keys() | after.factors.keys():
        old, new = before.factors.get(module), after.factors.get(module)
        if new is old:
            continue
        moved = summed([(1.0, new), (-1.0, old)])
        assert moved is not None, "one of the two has this module"
        count += moved.norm() > ROUNDING * (old.norm() if old is not None else 0.0)
    return count


def _norm(adapter: Any) -> float:
    """Frobenius norm of all that an adapter adds."""
    return float(sum(factors.norm() ** 2 for factors in adapter.factors.values()) ** 0.5)


def check_differ(adapter: Path, aligned: Path, unaligned: Path) -> None:
    """Raises: ConfigError: the two models have equal weights in every module that the adapter changes."""
    from multitask_bench.mitigations._lora import equal_models, read_lora, same_weights

    if same_weights(aligned, unaligned, list(read_lora(adapter).factors)):
        raise equal_models(aligned, unaligned)


def check_base(adapter: Path, aligned: Path, *, base: Path | None = None) -> str | None:
    """Whether an adapter was trained on the aligned model, as far as the base that it names is on this machine.

    ``base`` stands in for the one that it names.
    Returns: a note where the base is not here, so that nothing could be checked.
    Raises: ModelError: it was trained on another one: every method would be held against the wrong weights.
    """
    named = str(adapter_config(adapter).get("base_model_name_or_path") or "")
    if base is None and named and Path(named).is_dir():
        base = Path(named)
    wanted = hub_id(named) if named and base is None else None
    if wanted is not None:
        base = cached_folder(wanted.id, revision=wanted.revision)
    if base is None or (base / ADAPTER_CONFIG).is_file():
        return (
            f"{adapter.name} names '{named}' as its base, which is not a model on this machine: that it was trained on "
            f"{aligned} is taken on trust; give --base to have it checked."
        )
    if base.resolve() == aligned.resolve():
        return None
    from multitask_bench.mitigations._lora import read_lora, same_weights

    if not same_weights(base, aligned, list(read_lora(adapter).factors)):
        raise ModelError(
            f"{adapter}: it was trained on {base}, whose weights are not those of {aligned}. The reference of a "
            "repair is the aligned model that the adapter was trained on; give that one."
        )
    return None
