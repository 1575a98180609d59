"""A model that cannot be used is named before any weight is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.errors import ModelError
from multitask_bench.models import load
from multitask_bench.models.load import (
    DEMO_HUB_ID,
    DEMO_HUB_REVISION,
    HubId,
    Local,
    Planned,
    Remote,
    check_adapter,
    hub_folder,
    hub_id,
    model_digest,
    open_local,
    planned,
)
from tests import tiny


def test_an_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="Did you mean 'demo'"):
        open_local("demoo")


def test_a_folder_without_weights_is_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    with pytest.raises(ModelError, match="no weights"):
        open_local(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="not unpickled"):
        open_local(str(tmp_path))


def test_an_adapter_finds_its_base_by_its_own_config(tmp_path: Path, tiny_model: Path) -> None:
    found = open_local(str(tiny.adapter(tiny_model, tmp_path / "a")))
    assert (found.folder, found.adapter) == (tiny_model, tmp_path / "a")


def test_an_adapter_of_another_shape_is_refused_by_shapes_not_names(tmp_path: Path, tiny_model: Path) -> None:
    other = tiny.model(tmp_path / "other", hidden=48)
    adapter = tiny.adapter(other, tmp_path / "a")
    with pytest.raises(ModelError, match="size 48, the base 32"):
        check_adapter(adapter, tiny_model)


def test_another_base_name_is_one_warning(tmp_path: Path, tiny_model: Path) -> None:
    twin = tiny.model(tmp_path / "renamed")
    adapter = tiny.adapter(tiny_model, tmp_path / "a")
    found = open_local(str(adapter), base=str(twin))
    assert len(found.warnings) == 1
    assert "modules and shapes fit" in found.warnings[0]


def test_dora_whole_modules_and_another_template_are_named(tmp_path: Path, tiny_model: Path) -> None:
    adapter = tiny.adapter(tiny_model, tmp_path / "a", use_dora=True, modules_to_save=["lm_head"])
    (adapter / "chat_template.jinja").write_text("other")
    notes = " ".join(check_adapter(adapter, tiny_model))
    assert "DoRA" in notes
    assert "lm_head" in notes
    assert "chat template" in notes


def test_resized_embeddings_are_recognised(tmp_path: Path, tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = tiny.adapter(tiny_model, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    import torch

    weights["base_model.model.model.embed_tokens.weight"] = torch.zeros(300, 32)
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="resized embeddings"):
        check_adapter(adapter, tiny_model)


def test_a_cut_off_weights_file_is_named(tmp_path: Path, tiny_model: Path) -> None:
    adapter = tiny.adapter(tiny_model, tmp_path / "a")
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ModelError, match="cut off"):
        check_adapter(adapter, tiny_model)


def test_an_adapters_digest_does_not_depend_on_paths(tmp_path: Path, tiny_model: Path) -> None:
    first = tiny.adapter(tiny_model, tmp_path / "a")
    before = model_digest(first, "adapter")
    settings = json.loads((first / "adapter_config.json").read_text())
    (first / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "/elsewhere"}))
    assert model_digest(first, "adapter") == before


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub client."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def _downloaded(hub_cache: Path, name: str, model: Path, *, commit: str = COMMIT) -> Path:
    """A finished download, laid out as the hub client does."""
    repo = hub_cache / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    shutil.copytree(model, snapshot)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    return snapshot


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/name", HubId("org/name", None)),
        (f"org/name-1.5_b@{COMMIT}", HubId("org/name-1.5_b", COMMIT)),
        ("org/name@v1.0", HubId("org/name", "v1.0")),
        ("demo", None),
        ("name@main", None),
        ("./org/name", None),
        ("/org/name", None),
        ("a/b/c", None),
        ("org/name@", None),
        ("folder/file.gguf", None),
    ],
)
def test_a_hub_id_may_carry_a_revision(name: str, found: HubId | None) -> None:
    assert hub_id(name) == found


def test_a_folder_is_never_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_id("runs/model") is None


def test_a_plan_needs_no_download(hub_cache: Path) -> None:
    found = planned(f"meta-llama/Llama-3.1-8B-Instruct@{COMMIT}")
    assert isinstance(found, Planned)
    assert (found.name, found.revision) == ("meta-llama/Llama-3.1-8B-Instruct", COMMIT)
    assert found.known is not None
    assert found.known.license == "llama3.1"


def test_an_unknown_hub_id_is_an_error_only_when_work_starts(hub_cache: Path) -> None:
    assert planned("org/new") == Planned("org/new", None, None)
    with pytest.raises(ModelError, match="the hub does not give it"):
        open_local("org/new")


def test_a_downloaded_model_is_planned_as_a_local_one(hub_cache: Path, tiny_model: Path) -> None:
    snapshot = _downloaded(hub_cache, "org/tiny", tiny_model)
    for name in ("org/tiny", f"org/tiny@{COMMIT}", "org/tiny@main"):
        assert planned(name) == Local("org/tiny", snapshot)
        assert open_local(name) == Local("org/tiny", snapshot)
    other = COMMIT[::-1]
    assert planned(f"org/tiny@{other}") == Planned("org/tiny", other, None)


def test_a_download_that_was_broken_off_is_planned_again(hub_cache: Path, tiny_model: Path) -> None:
    snapshot = _downloaded(hub_cache, "org/tiny", tiny_model)
    (snapshot / "model.safetensors").unlink()
    assert isinstance(planned("org/tiny"), Planned)
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (snapshot / weight_map["a"]).write_bytes(b"x")
    assert isinstance(planned("org/tiny"), Planned)
    (snapshot / weight_map["b"]).write_bytes(b"x")
    assert isinstance(planned("org/tiny"), Local)


def test_an_adapter_on_a_model_that_is_not_here_can_be_planned(
    hub_cache: Path, tmp_path: Path, tiny_model: Path
) -> None:
    adapter = tiny.adapter(tiny_model, tmp_path / "a")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "org/tiny"}))
    assert planned(str(adapter)) == Planned("org/tiny", None, None, adapter)
    assert planned("org/tiny", adapter=adapter) == Planned("org/tiny", None, None, adapter)
    assert planned(str(adapter), base=str(tiny_model)) == open_local(str(adapter), base=str(tiny_model))
    snapshot = _downloaded(hub_cache, "org/tiny", tiny_model)
    found = planned(str(adapter))
    assert isinstance(found, Local)
    assert (found.folder, found.adapter, found.warnings) == (snapshot, adapter, ())
    pinned = planned(str(adapter), base=f"org/tiny@{COMMIT}")
    assert isinstance(pinned, Local)
    assert pinned.warnings == ()


def test_remote_and_local_names_are_planned_as_they_are_opened(tiny_model: Path) -> None:
    assert planned("openai/gpt-4o") == Remote("openai/gpt-4o")
    assert planned(str(tiny_model)) == open_local(str(tiny_model))
    with pytest.raises(ModelError, match="Did you mean 'demo'"):
        planned("demoo")


def test_a_publisher_that_is_also_a_provider_is_not_called(hub_cache: Path) -> None:
    assert isinstance(planned("google/gemma-1.1-7b-it"), Planned)
    assert isinstance(planned(f"google/gemma-3-4b-it@{COMMIT}"), Planned)
    assert planned("google/gemini-2.5-flash") == Remote("google/gemini-2.5-flash")


def test_the_demo_without_its_package_is_planned_from_the_hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "demo_gguf", lambda: None)
    found = planned("demo")
    assert isinstance(found, Planned)
    assert (found.name, found.revision) == (DEMO_HUB_ID, DEMO_HUB_REVISION)


def test_the_revision_reaches_the_hub_and_the_publishers_second_copy_is_left_there(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    calls: list[tuple[str, dict[str, Any]]] = []

    def download(name: str, **settings: Any) -> str:
        calls.append((name, settings))
        return str(tiny_model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub_folder("org/name@v1") == tiny_model
    assert hub_folder("org/name", revision=COMMIT) == tiny_model
    assert [(name, settings["revision"]) for name, settings in calls] == [("org/name", "v1"), ("org/name", COMMIT)]
    files = ["config.json", "consolidated.safetensors", "model-00001-of-00003.safetensors", "original/params.json"]
    patterns = {key: calls[0][1][key] for key in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects(files, **patterns)) == ["config.json", "model-00001-of-00003.safetensors"]


def test_a_gated_model_says_where_to_accept_its_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(name: str, **settings: Any) -> str:
        raise GatedRepoError("gated", response=httpx.Response(403, request=httpx.Request("GET", "https://hub")))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"accept its licence at https://huggingface.co/org/name"):
        hub_folder("org/name")
