"""LoRA adapters as tensors: read from a PEFT folder, combined exactly, written as a PEFT folder.

An adapter adds scale * B A to the weight of a module (Hu et al. 2021, arXiv:2106.09685), with A of shape
(rank, inputs) and B of shape (outputs, rank). PEFT's ``add_weighted_adapter(combination_type="linear")`` adds A to
A and B to B, which brings cross terms; here a sum is the concatenation of the factors, exact at the sum of ranks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from multitask_bench.errors import ConfigError, ModelError
from multitask_bench.models.engine.local import is_plain_lora
from multitask_bench.models.load import ADAPTER_CONFIG, ADAPTER_WEIGHTS, WEIGHTS, adapter_config
from multitask_bench.records import write_json

PREFIX = "base_model.model."


class Factors(NamedTuple):
    """What an adapter adds to one module: ``scale * b @ a``."""

    a: torch.Tensor
    """Shape (rank, inputs)."""
    b: torch.Tensor
    """Shape (outputs, rank)."""
    scale: float

    @property
    def rank(self) -> int:
        """Columns of ``b``."""
        return int(self.a.shape[0])

    def dense(self) -> torch.Tensor:
        """The whole matrix, float64, shape (outputs, inputs)."""
        return self.scale * self.b.double() @ self.a.double()

    def norm(self) -> float:
        """Frobenius norm of the whole matrix, which is never built."""
        gram = self.a.double() @ self.a.double().T
        b = self.b.double()
        return self.scale * float(((b @ gram) * b).sum().clamp(min=0).sqrt())


class Lora(NamedTuple):
    """One adapter in memory."""

    folder: Path
    """Where it was read from: the files beside the weights are taken over."""
    config: dict[str, Any]
    factors: dict[str, Factors]
    """By module name, as in the base model."""
    figures: dict[str, Any]
    """What a repair did to it."""


class References(NamedTuple):
    """What a repair is held against."""

    aligned: Path
    """The model that the adapter was trained on: the reference of every method."""
    unaligned: Path | None = None
    """The same model before its alignment."""
    safety: Lora | None = None
    """An adapter on the aligned model that was trained on refusals and helpful twins."""

    def changes(self, adapter: Lora, only: Collection[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """What alignment changed in each module of the adapter: W_aligned - W_unaligned, (outputs, inputs).

        ``only`` names the modules that are wanted; all when null.

        Raises: ConfigError: nothing, in any module. ModelError: the models do not fit each other.
        """
        if self.unaligned is None:
            raise ConfigError("the unaligned base is needed: it shows what alignment changed.")
        aligned, unaligned = _Weights(self.aligned), _Weights(self.unaligned)
        turned, differ = bool(adapter.config.get("fan_in_fan_out")), False
        for module in adapter.factors if only is None else sorted(only):
            after, before = aligned.weight(module), unaligned.weight(module)
            if after.shape != before.shape:
                raise ModelError(f"{module}: {self.aligned.name} and {self.unaligned.name} differ in its shape.")
            change = (after.float() - before.float()).to(device())
            differ = differ or bool(change.any())
            yield module, change.T if turned else change
        if not differ and only is None:
            raise equal_models(self.aligned, self.unaligned)


class _Weights:
    """The weights of a model folder as they lie on disk, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / WEIGHTS[1]
        self.files: Mapping[str, str] = json.loads(index.read_text("utf-8"))["weight_map"] if index.is_file() else {}
        self.open: dict[Path, Any] = {}

    def weight(self, module: str) -> torch.Tensor:
        """The weight of a module, on the CPU.

        Raises: ModelError: there is none, or the file is cut off.
        """
        name = f"{module}.weight"
        path = self.folder / self.files.get(name, WEIGHTS[0])
        if path not in self.open:
            try:
                self.open[path] = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as err:
                raise ModelError(f"{path}: not a safetensors file, or cut off; get the model again.") from err
        if name not in self.open[path].keys():  # noqa: SIM118  not a mapping
            raise ModelError(f"{self.folder}: no weight of module '{module}', which the adapter changes.")
        found: torch.Tensor = self.open[path].get_tensor(name)
        return found


def equal_models(aligned: Path, unaligned: Path) -> ConfigError:
    """The error for two models that are one."""
    return ConfigError(
        f"the aligned model ({aligned}) and the unaligned one ({unaligned}) have equal weights: nothing shows what "
        "alignment changed. Give the model that refuses, and its base from before its alignment."
    )


def same_weights(first: Path, second: Path, modules: Sequence[str]) -> bool:
    """Whether two model folders hold equal weights in the modules named."""
    one, other = _Weights(first), _Weights(second)
    return all(torch.equal(one.weight(module), other.weight(module)) for module in modules)


def device() -> str:
    """Where matrices are multiplied."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def read_lora(folder: Path) -> Lora:
    """The adapter in a PEFT folder.

    Raises: ModelError: not a PEFT folder, or one that holds more than low-rank matrices beside linear layers.
    """
    config = adapter_config(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{folder}: no {ADAPTER_WEIGHTS}; this is not a PEFT folder with safetensors.")
    moves_base = str(config.get("init_lora_weights")).startswith(("pissa", "olora", "corda", "loftq"))
    if not is_plain_lora(folder) or moves_base:
        raise ModelError(
            f"{folder}: only plain LoRA on linear layers can be repaired, not DoRA, trained biases, whole modules, "
            "embeddings, or a start that changes the base."
        )
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    factors = {}
    for name in sorted(name for name in tensors if name.endswith(".lora_A.weight")):
        module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        if name.replace(".lora_A.", ".lora_B.") not in tensors:
            raise ModelError(f"{folder}: {ADAPTER_WEIGHTS} has only one of the two factors of {module}.")
        factors[module] = Factors(tensors[name], tensors[name.replace(".lora_A.", ".lora_B.")], _scale(config, module))
    return Lora(folder, config, factors, {})


def _scale(config: Mapping[str, Any], module: str) -> float:
    """The factor before B A, as PEFT computes it."""
    from peft.utils.other import get_pattern_key

    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank = ranks.get(get_pattern_key(list(ranks), module), config["r"])
    alpha = alphas.get(get_pattern_key(list(alphas), module), config["lora_alpha"])
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def write_lora(adapter: Lora, out: Path) -> None:
    """Write a PEFT folder that plain PEFT loads; an adapter that was not changed is the same to the byte.

    Where ranks have changed, all modules get the largest rank, padded with zeros, and a scale of 1: other
    loaders of PEFT folders do not read ranks by module.
    """
    before = read_lora(adapter.folder)
    layout = {module: (f.rank, f.scale) for module, f in before.factors.items()}
    if {module: (f.rank, f.scale) for module, f in adapter.factors.items()} != layout:
        adapter = _evened(adapter, new_modules=adapter.factors.keys() != before.factors.keys())
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(adapter.folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".jinja", ".model", ".txt") and path.name != ADAPTER_CONFIG:
            shutil.copyfile(path, out / path.name)
    if adapter.config == before.config:
        shutil.copyfile(adapter.folder / ADAPTER_CONFIG, out / ADAPTER_CONFIG)
    else:
        write_json(out / ADAPTER_CONFIG, adapter.config)
    tensors = {}
    for module, found in adapter.factors.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = found.a.cpu().contiguous()
        tensors[f"{PREFIX}{module}.lora_B.weight"] = found.b.cpu().contiguous()
    save_file(tensors, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _evened(adapter: Lora, *, new_modules: bool) -> Lora:
    rank = max(found.rank for found in adapter.factors.values())
    factors = {}
    for module, (a, b, scale) in adapter.factors.items():
        missing = rank - a.shape[0]
        wide = torch.nn.functional.pad(b.float() * scale, (0, missing))
        factors[module] = Factors(torch.nn.functional.pad(a.float(), (0, 0, 0, missing)), wide, 1.0)
    config = {**adapter.config, "r": rank, "lora_alpha": rank, "use_rslora": False}
    config |= {"rank_pattern": {}, "alpha_pattern": {}}
    if new_modules:
        config |= {"target_modules": sorted(factors)}
        config |= dict.fromkeys(("layers_to_transform", "layers_pattern", "exclude_modules"))
    return adapter._replace(config=config, factors=factors)


def summed(terms: Sequence[tuple[float, Factors | None]]) -> Factors | None:
    """The weighted sum of what adapters add to one module, exactly, at the sum of their ranks; None for nothing."""
    kept = [(weight, found) for weight, found in terms if found is not None and weight != 0]
    if len(kept) == 1 and kept[0][0] == 1:
        return kept[0][1]
    if not kept:
        first = next((found for _, found in terms if found is not None), None)
        return None if first is None else first._replace(b=torch.zeros_like(first.b))
    a = torch.cat([found.a.float() for _, found in kept])
    b = torch.cat([weight * found.scale * found.b.float() for weight, found in kept], dim=1)
    return Factors(a, b, 1.0)


def truncated(found: Factors, rank: int) -> tuple[Factors, float]:
    """The nearest matrix of at most ``rank`` (Eckart-Young), and its distance over the norm of what it replaces."""
    if found.rank <= rank:
        return found, 0.0
    left, upper = torch.linalg.qr(found.scale * found.b.double())
    right, other = torch.linalg.qr(found.a.double().T)
    u, s, v = torch.linalg.svd(upper @ other.T)
    root = s[:rank].sqrt()
    near = Factors(((right @ v.T[:, :rank]) * root).T.float(), ((left @ u[:, :rank]) * root).float(), 1.0)
    whole = float(s.square().sum().sqrt())
    return near, float(s[rank:].square().sum().sqrt()) / whole if whole else 0.0


def check_same_model(adapter: Lora, other: Lora) -> None:
    """Raises: ModelError: two adapters do not fit one model."""
    for module, found in adapter.factors.items():
        beside = other.factors.get(module)
        if beside is not None and (beside.a.shape[1], beside.b.shape[0]) != (found.a.shape[1], found.b.shape[0]):
            raise ModelError(f"{other.folder}: {module} has another size than in {adapter.folder}; another model's.")
    if not adapter.factors.keys() & other.factors.keys():
        raise ModelError(f"{other.folder}: changes no module that {adapter.folder} changes; another model's.")
