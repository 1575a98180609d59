"""A model that cannot be used is named before any weight is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multitask_bench.errors import ModelError
from multitask_bench.models.load import check_adapter, model_digest, open_local
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
