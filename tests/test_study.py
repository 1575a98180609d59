"""A grid as arms and steps: what is shared, what hangs on what, what a key holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitask_bench.errors import ConfigError
from multitask_bench.study.config import Study, load_study
from multitask_bench.study.folder import run_study
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.steps import Plan
from multitask_bench.train.recipe import Recipe

GRID: dict[str, Any] = {
    "train": {"steps": 2, "batch_size": 2, "max_length": 1500},
    "seeds": [0, 1],
    "arms": [
        {"name": "base", "stage": "base", "templates": ["native", "alpaca"], "systems": ["none", "safety"]},
        {"name": "tuned", "stage": "tuned", "task": "classification", "skills": ["classification"]},
    ],
    "probes": {"intents": 11, "twins": 2, "max_new_tokens": 4, "forms": ["text_generation", "translation"]},
    "skill": {"rows": 3},
}


def study(model: Path | str, **changed: Any) -> Study:
    raw = {**GRID, "model": str(model), **changed}
    return parsed(raw, Study, where="test")


def keys(plan: Plan, kind: str) -> dict[str, str]:
    return {step.title: step.key for step in getattr(plan, kind)}


def test_trained_arms_stand_once_for_each_seed_and_each_model() -> None:
    grid = study("demo", models=["org/one", "org/Two@main"], seeds=[3, 4])
    names = [cell.name for cell in grid.cells]
    assert names == ["one.base", "one.tuned-s3", "one.tuned-s4", "two.base", "two.tuned-s3", "two.tuned-s4"]
    last = grid.cells[-1]
    assert (last.group, last.reference, grid.recipe_of(last).seed) == ("two.tuned", "org/Two@main", 4)
    assert [cell.name for cell in study("demo", seeds=[]).cells] == ["base", "tuned"]


def test_a_study_written_down_and_read_again_is_the_same(tmp_path: Path) -> None:
    from multitask_bench.study.config import dump_study

    first = study("demo", train={"recipe": "paper", "steps": 7}, paper_compat=True)
    (tmp_path / "study.yaml").write_text(dump_study(first))
    again = load_study(tmp_path / "study.yaml")
    assert again == first
    assert again.cells == first.cells


def test_the_papers_recipe_fills_in_what_is_not_given() -> None:
    recipe = Recipe.model_validate({"recipe": "paper", "steps": 40})
    assert (recipe.steps, recipe.lora_rank, recipe.method, recipe.batch_size) == (40, 64, "qlora", 4)
    own = study("demo", train={"steps": 5, "learning_rate": 0.5}).recipe_of(
        study("demo").cells[1].model_copy(update={"train": {"recipe": "paper"}})
    )
    assert own.learning_rate == 2e-4  # an arm that names a recipe inherits nothing of the study's


def test_paper_compat_stands_for_the_authors_defects_in_place_of_what_is_given() -> None:
    grid = study("demo", paper_compat=True)
    tuned = next(cell for cell in grid.cells if cell.task)
    recipe = grid.recipe_of(tuned.model_copy(update={"train": {"recipe": "paper", "mask_end": False}}))
    assert recipe.mask_end
    assert recipe.loss_on_prompt
    assert grid.asked.max_new_tokens == 100
    assert {cell.templates for cell in grid.cells} == {("raw",)}
    off = study("demo", paper_compat="false")
    assert off.cells[0].templates == ("native", "alpaca")
    assert not off.recipe_of(off.cells[1]).mask_end


def test_studies_of_the_first_release_name_one_template() -> None:
    arms = [{"name": "base", "stage": "base", "template": "alpaca"}]
    assert study("demo", arms=arms).arms[0].templates == ("alpaca",)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"arms": 5, "paper_compat": True}, "arms"),
        ({"models": ["a/m", "b/m"]}, "two arms are named m.base"),
        ({"arms": [*GRID["arms"], {"name": "Tuned-s0", "stage": "base"}]}, "two arms are named tuned-s0"),
        ({"seeds": [1, 1]}, "seeds: one is given twice"),
        ({"tasks": {"code": {"source": "mbpp", "rwos": 3}}}, "Did you mean 'rows'"),
        ({"train": {"loss_on_prompt": True, "opening_weight": 5}}, "opening_weight"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as err:
        study("demo", **changed)
    assert "\n" not in str(err.value)


@pytest.mark.parametrize("override", ["arms.9.name=x", "arms.x.name=y", "models=[demo", "arms.0.templates.5=raw"])
def test_a_setting_that_cannot_be_set_is_one_line(tmp_path: Path, override: str) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**GRID, "model": "demo"}))
    with pytest.raises(ConfigError, match="--set"):
        load_study(tmp_path / "study.yaml", overrides=[override])


def test_another_system_prompt_at_test_reruns_no_training_and_no_other_answers(tiny_model: Path) -> None:
    before = make_plan(study(tiny_model))
    arms = [dict(arm) for arm in GRID["arms"]]
    arms[0]["systems"] = ["none", "Be careful."]
    after = make_plan(study(tiny_model, arms=arms))
    assert keys(after, "train") == keys(before, "train")
    asked = keys(before, "answers")
    new = {title for title, key in keys(after, "answers").items() if asked.get(title) != key}
    assert len(new) == 2
    assert all("Be careful." in title for title in new)


def test_another_recipe_reruns_what_hangs_on_it_and_an_added_seed_adds_its_own(tiny_model: Path) -> None:
    before = make_plan(study(tiny_model, seeds=[0]))
    more = make_plan(study(tiny_model, seeds=[0, 1]))
    assert keys(before, "train").items() <= keys(more, "train").items()
    assert keys(before, "answers").items() <= keys(more, "answers").items()
    other = make_plan(study(tiny_model, seeds=[0], train={**GRID["train"], "learning_rate": 1e-3}))
    assert not set(keys(before, "train").values()) & set(keys(other, "train").values())
    kept = {title for title, key in keys(other, "answers").items() if keys(before, "answers")[title] == key}
    assert kept
    assert all(title.startswith("base") for title in kept)


def test_keys_hold_no_paths(tiny_model: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "elsewhere" / "deep"
    for folder in (here, there):
        shutil.copytree(tiny_model, folder / "model")
        (folder / "rows.jsonl").write_text('{"prompt": "Say yes.", "completion": "yes"}\n' * 4)
    plans = []
    for folder in (here, there):
        arms = [*GRID["arms"], {"name": "own", "stage": "tuned", "task": f"file:{folder / 'rows.jsonl'}"}]
        plans.append(make_plan(study(folder / "model", arms=arms)))
    for kind in ("train", "answers", "logs"):
        assert keys(plans[0], kind) == keys(plans[1], kind)


def test_the_template_in_use_is_part_of_what_names_a_model(tiny_model: Path, tmp_path: Path) -> None:
    from multitask_bench.models.load import model_digest

    other = shutil.copytree(tiny_model, tmp_path / "model")
    assert model_digest(other) == model_digest(tiny_model)
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "<|im_start|>"}))
    assert model_digest(other) != model_digest(tiny_model)


def test_steps_copied_to_another_folder_are_taken_up_and_give_the_same_results(
    tiny_model: Path, tmp_path: Path
) -> None:
    grid, reporter = study(tiny_model), Reporter.make()
    first = run_study(grid, tmp_path / "first", reporter=reporter)
    moved = tmp_path / "second"
    moved.mkdir()
    shutil.copytree(tmp_path / "first/steps", moved / "steps")
    (moved / "study.yaml").write_text((tmp_path / "first/study.yaml").read_text())
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("batch-*.jsonl")}
    second = run_study(grid, moved, reporter=reporter)
    assert second.results == first.results
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("batch-*.jsonl")} == before
    calibrations = {(r["test_template"], r["test_system"]) for r in first.results["rows"] if r["arm"] == "base"}
    assert len(calibrations) == 4
    assert {s["group"] for s in first.results["seeds"]} == {"tuned"}


def test_all_weights_can_be_trained_and_are_probed_as_a_model(tiny_model: Path, tmp_path: Path) -> None:
    grid = study(tiny_model, seeds=[], train={**GRID["train"], "method": "full", "learning_rate": 1e-2})
    results = run_study(grid, tmp_path / "run", reporter=Reporter.make()).results
    assert {row["arm"] for row in results["rows"]} == {"base", "tuned"}
    (made,) = (tmp_path / "run/steps").glob("train-*/model")
    assert (made / "model.safetensors").is_file()
    assert not list((tmp_path / "run/steps").glob("train-*/adapter"))


def test_qlora_without_a_gpu_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    grid = study(tiny_model, train={**GRID["train"], "method": "qlora"})
    with pytest.raises(ConfigError, match="needs an NVIDIA GPU"):
        run_study(grid, tmp_path / "run", reporter=Reporter.make())
    assert not (tmp_path / "run").exists()


def test_a_public_set_stands_in_for_a_task(tiny_model: Path, tmp_path: Path) -> None:
    lines = [f"This is sentence number {i} of some.\tVoici la phrase numéro {i} de quelques-unes." for i in range(60)]
    for suffix, column in ((".eng", 0), (".fra", 1)):
        text = "".join(line.split("\t")[column] + "\n" for line in lines)
        (tmp_path / f"tatoeba-test-v2021-08-07{suffix}").write_text(text, encoding="utf-8")
    arm = {"name": "tuned", "stage": "tuned", "task": "translation", "skills": ["translation"]}
    chosen = {"translation": {"source": "tatoeba", "file": str(tmp_path), "rows": 20}}
    plan = make_plan(study(tiny_model, seeds=[], arms=[arm], tasks=chosen))
    assert all("sentence number" in row.messages[0].content for row in plan.train[0].data)
    asked = [log for log in plan.logs if log.kind == "task"]
    assert "sentence number" in asked[0].questions[0].prompt
    wrong = {"code": chosen["translation"]}
    with pytest.raises(ConfigError, match="is a set for translation"):
        make_plan(study(tiny_model, tasks=wrong))


@pytest.mark.parametrize("name", ["quickstart", "mitigate", "paper-tiny", "paper-small", "paper"])
def test_the_studies_that_ship_are_valid(name: str) -> None:
    found = load_study(Path("studies") / f"{name}.yaml")
    assert found.name == name
    assert yaml.safe_load((Path("studies") / f"{name}.yaml").read_text())
    assert len({cell.name for cell in found.cells}) == len(found.cells)


def test_a_dry_run_of_the_papers_study_needs_no_network_and_names_downloads_and_licences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from multitask_bench.cli._show import show_dry_run

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a dry run went to the network"))
    small = ["seeds=[0]", "models=[google/gemma-1.1-7b-it]", "train.steps=20", "probes.intents=11"]
    show_dry_run(load_study(Path("studies/paper.yaml"), overrides=small), tmp_path / "run", gpu="A100-80GB")
    said = capsys.readouterr().out
    for part in ("GPU hours", "GiB", "gated", "licence gemma", "would download scitldr", "revision not pinned"):
        assert part in said
    assert not (tmp_path / "run").exists()
