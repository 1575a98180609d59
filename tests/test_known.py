"""The table of hub models: its shapes give the published parameter counts, and nothing heavy is imported for it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from multitask_bench.models.known import MODELS, Shape, inner_parameters, known, parameters

PUBLISHED = {
    # The counts that the hub shows (safetensors metadata), or, for a tied model whose files hold the output layer
    # twice, what transformers counts.
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "google/gemma-1.1-7b-it": 8_537_680_896,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-1b-it": 999_885_952,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "google/shieldgemma-2b": 2_614_341_888,
    "ibm-granite/granite-guardian-3.1-2b": 2_533_531_648,
    "cais/HarmBench-Llama-2-13b-cls": 13_015_864_320,
}
ALIKE = {  # no count of its own was found: (id, the model whose count it has to share)
    "meta-llama/Llama-Guard-3-8B": 8_030_261_248,
    "allenai/wildguard": 7_248_023_552,
    "google/shieldgemma-9b": 9_241_705_984,
    "ibm-granite/granite-guardian-3.3-8b": 8_170_864_640,
}


def test_every_model_of_the_table_is_checked() -> None:
    assert {model.id for model in MODELS} == {*PUBLISHED, *ALIKE}
    assert len(MODELS) == 29


@pytest.mark.parametrize(("name", "count"), [*PUBLISHED.items(), *ALIKE.items()])
def test_a_shape_gives_the_published_count(name: str, count: int) -> None:
    found = known(name)
    assert found is not None
    assert found.parameters == count


def test_a_count_by_hand() -> None:
    shape = Shape(vocab=10, hidden=8, layers=2, heads=2, kv_heads=1, intermediate=16, tied=False)
    layer = 8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16
    assert inner_parameters(shape) == 2 * layer
    assert parameters(shape) == 2 * 10 * 8 + 2 * (layer + 2 * 8) + 8
    assert parameters(shape._replace(tied=True)) == parameters(shape) - 80
    assert parameters(shape._replace(qkv_bias=True)) == parameters(shape) + 2 * (8 + 4 + 4)
    assert parameters(shape._replace(qk_norm=True)) == parameters(shape) + 2 * (4 + 4)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 16_060_522_496),  # total_size of its index
        ("Qwen/Qwen2.5-7B-Instruct", 15_231_233_024),
        ("google/gemma-2-2b-it", 5_228_683_776),
        ("Qwen/Qwen3-0.6B", 1_503_264_768),  # its file holds the tied output layer as well
        ("Qwen/Qwen3-1.7B", 2 * 2_031_739_904),
        ("cais/HarmBench-Llama-2-13b-cls", 26_031_728_640),  # the hub lists 26.0 GB in six files
    ],
)
def test_a_download_is_as_large_as_the_files_on_the_hub(name: str, size: int) -> None:
    found = known(name)
    assert found is not None
    assert found.download_bytes == size


def test_a_name_is_found_in_any_case_and_with_a_revision() -> None:
    found = known("META-LLAMA/llama-3.1-8b-instruct@main")
    assert found is not None
    assert found.id == "meta-llama/Llama-3.1-8B-Instruct"
    assert known("nobody/nothing") is None


def test_revisions_are_commits_and_names_are_unique() -> None:
    assert all(re.fullmatch("[0-9a-f]{40}", model.revision) for model in MODELS if model.revision is not None)
    assert [model.id for model in MODELS if model.revision is None] == ["ibm-granite/granite-guardian-3.3-8b"]
    assert len({model.id.lower() for model in MODELS}) == len(MODELS)
    pinned = [model.revision for model in MODELS if model.revision is not None]
    assert len(set(pinned)) == len(pinned)


def test_what_needs_a_licence_is_said() -> None:
    own_terms = {"llama2", "llama3.1", "llama3.2", "gemma"}
    assert all(model.gated for model in MODELS if model.license in own_terms)
    assert {model.id for model in MODELS if model.gated and model.license not in own_terms} == {"allenai/wildguard"}


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys, multitask_bench.models.known; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
