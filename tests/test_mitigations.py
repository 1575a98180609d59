"""Each mitigation's mechanism, on models small enough to be checked against dense matrices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, TrainerCallback

from multitask_bench.errors import ConfigError, ModelError, UnknownNameError
from multitask_bench.mitigations import HOOKS, Prompts, mitigations
from multitask_bench.mitigations._lora import Factors, Lora, read_lora, summed, truncated, write_lora
from multitask_bench.mitigations._subspace import basis, cosine
from multitask_bench.records import file_digest, read_json, write_json
from multitask_bench.schema import Conversation, Message
from multitask_bench.study import rows
from multitask_bench.study.config import Study
from multitask_bench.study.controls import missing_logs
from multitask_bench.study.folder import run_study
from multitask_bench.study.log_writer import LogWriter
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.repair import repair_adapter
from multitask_bench.study.selection import choose
from multitask_bench.study.step_folders import StepFolders
from multitask_bench.study.steps import CODE
from multitask_bench.train.recipe import Recipe
from multitask_bench.train.sft import fine_tune, merge_adapter
from tests import ledgers, tiny

RECIPE = Recipe(steps=6, batch_size=2, learning_rate=2e-2, lora_rank=4, warmup_share=0)
MODULES = ["q_proj", "down_proj"]


def says(answer: str, n: int = 4) -> list[Conversation]:
    turns = [
        (Message(role="user", content=f"question {i}"), Message(role="assistant", content=answer)) for i in range(n)
    ]
    return [Conversation(id=str(i), messages=t) for i, t in enumerate(turns)]


@pytest.fixture(scope="module")
def place(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unaligned model (``tiny_model``), the aligned one, and on it a fine-tune and a safety adapter."""
    folder = tmp_path_factory.mktemp("repairs")
    tiny.adapter(tiny_model, folder / "alignment", zero=False, seed=5)
    merge_adapter(tiny_model, folder / "alignment", out=folder / "aligned")
    tiny.adapter(folder / "aligned", folder / "tuned", zero=False, seed=6)
    tiny.adapter(folder / "aligned", folder / "safety", zero=False, seed=7)
    return folder


def repaired(name: str, settings: dict[str, Any], place: Path, tiny_model: Path, out: Path) -> dict[str, Any]:
    (figures,) = repair_adapter(
        [mitigations.make(name, settings)],
        place / "tuned",
        aligned=place / "aligned",
        unaligned=tiny_model,
        safety=place / "safety",
        out=out,
    )
    return figures


def dense(folder: Path) -> dict[str, torch.Tensor]:
    return {module: factors.dense() for module, factors in read_lora(folder).factors.items()}


def change(place: Path, tiny_model: Path, module: str) -> torch.Tensor:
    after, before = (load_file(m / "model.safetensors")[f"{module}.weight"] for m in (place / "aligned", tiny_model))
    return (after - before).double()


def logits(base: Path, adapter: Path) -> torch.Tensor:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([[5, 6, 7, 8]])).logits
    return found


# Every mitigation


def test_every_mitigation_says_what_it_changes_and_cites_its_paper() -> None:
    names = mitigations.names()
    assert len(names) >= 8
    for name in names:
        spec = mitigations.make(name)
        assert set(spec.hooks()) <= set(HOOKS)
        assert spec.hooks(), name
        module = __import__(f"multitask_bench.mitigations.{name}", fromlist=["x"])
        assert name == "benign_mix" or "arXiv:" in module.__doc__
        assert f"`{name}`" in Path("docs/papers.md").read_text(), name


# Data


def test_added_safety_rows_leave_the_benign_rows_and_the_control_has_as_many_of_chat() -> None:
    def made(name: str, **settings: Any) -> list[Conversation]:
        return rows.task_rows("translation", count=40, mitigation={name: {"share": 0.1, **settings}}, seed=3)

    plain = rows.task_rows("translation", count=40, mitigation={}, seed=3)
    added, control = made("safety_mix", mode="add"), made("benign_mix")
    benign = sorted(row.id for row in plain)
    for mixed, kinds in ((added, {"safety", "twin"}), (control, {"chat"})):
        assert sorted(row.id for row in mixed if row.kind == "benign") == benign
        assert {row.kind for row in mixed} == {"benign", *kinds}
    assert len(added) == len(control) == 48
    assert len(made("safety_mix")) == 40


def test_the_left_out_form_is_in_no_safety_row() -> None:
    form_of = {}
    for left_out in (None, "translation"):
        settings = {"share": 0.4, "twins": False, "leave_out": left_out}
        mixed = rows.task_rows("code", count=80, mitigation={"safety_mix": settings}, seed=0)
        form_of[left_out] = {row.id.split(".")[2].rstrip("0123456789f") for row in mixed if row.kind == "safety"}
    assert form_of[None] - form_of["translation"] == {"tr"}
    with pytest.raises(ConfigError, match="Known: text_generation"):
        rows.task_rows("code", count=80, mitigation={"safety_mix": {"leave_out": "poems"}}, seed=0)


def test_rows_of_anothers_set_refuse_and_come_once(tmp_path: Path) -> None:
    pairs = [
        {"instruction": f"Explain harm {i % 3}.", "input": "", "output": "I cannot help with that."} for i in range(4)
    ]
    pairs.append({"instruction": "Explain harm 9.", "input": "", "output": "Sure, first you take it apart."})
    (tmp_path / "set.json").write_text(json.dumps(pairs))
    settings = {"share": 0.1, "twins": False, "kind": "bianchi", "file": str(tmp_path / "set.json")}
    mixed = rows.task_rows("code", count=30, mitigation={"safety_mix": settings}, seed=0)
    found = [row for row in mixed if row.kind == "safety"]
    assert sorted(row.id for row in found) == ["bianchi-1", "bianchi-2", "bianchi-3"]
    assert str(tmp_path) not in json.dumps(mitigations.make("safety_mix", settings).told())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "bianchi"}, "need 'file'"),
        ({"kind": "bianchi", "file": "x.json"}, "set twins: false"),
        ({"kind": "plain", "leave_out": "translation"}, "multitask set"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mitigations.make("safety_mix", settings)


# Prompt


def test_ptst_tunes_without_a_safety_prompt_and_tests_with_it() -> None:
    assert mitigations.make("ptst").on_prompt(Prompts("safety", ("none",))) == Prompts("none", ("safety",))


# Trainer


class Watch(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def keep(self, model: Any) -> None:
        trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        self.seen.append({name: weight.detach().clone() for name, weight in trained.items()})

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.keep(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.keep(model)


def test_ema_keeps_the_recomputed_average_that_starts_at_the_reference(tiny_model: Path, tmp_path: Path) -> None:
    watch, spec = Watch(), mitigations.make("ema", {"decay": 0.7})

    def watched(trainer: Any) -> Any:
        trainer.add_callback(watch)
        return trainer

    fine_tune(tiny_model, says("no", 12), RECIPE, out=tmp_path / "a", hooks=[watched, spec.on_trainer])
    assert len(watch.seen) == 1 + RECIPE.steps
    assert all(not weight.any() for name, weight in watch.seen[0].items() if "lora_B" in name)
    average = watch.seen[0]
    for step in watch.seen[1:]:
        average = {name: 0.7 * average[name] + 0.3 * step[name] for name in average}
    saved = load_file(tmp_path / "a" / "adapter_model.safetensors")
    for name, weight in average.items():
        assert torch.allclose(saved[name.replace(".default", "")], weight, atol=1e-6)
    last = {name.replace(".default", ""): weight for name, weight in watch.seen[-1].items()}
    assert not any(torch.allclose(saved[name], weight) for name, weight in last.items() if "lora_B" in name)


def test_the_gentler_optimiser_lowers_the_rate_and_sees_every_row_once_in_larger_batches(
    tiny_model: Path, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {"rows": 0}

    def watched(trainer: Any) -> Any:
        collate = trainer.data_collator

        def counted(batch: Any) -> Any:
            seen["rows"] += len(batch)
            return collate(batch)

        trainer.data_collator = counted
        seen["trainer"] = trainer
        return trainer

    spec = mitigations.make("optimiser", {"learning_rate": 0.25, "warmup_share": 0.5, "batch": 2})
    fine_tune(tiny_model, says("no", 12), RECIPE, out=tmp_path / "a", hooks=[spec.on_trainer, watched])
    assert seen["rows"] == 12
    state = seen["trainer"].state
    assert (state.global_step, state.max_steps) == (3, 3)
    rates = [entry["learning_rate"] for entry in state.log_history if "learning_rate" in entry]
    assert max(rates) == pytest.approx(0.25 * RECIPE.learning_rate)
    assert rates[0] < max(rates)


# Adapter


def test_a_repaired_adapter_loads_in_plain_peft_and_does_what_its_factors_say(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for name, settings in (("safe_lora", {"share": 1.0}), ("safemerge", {"share": 0.5}), ("add", {"scale": 0.7})):
        repaired(name, settings, place, tiny_model, tmp_path / name)
        model = AutoModelForCausalLM.from_pretrained(place / "aligned")
        for module, added in dense(tmp_path / name).items():
            weight = model.get_submodule(module).weight
            weight.data = (weight.data.double() + added).float()
        with torch.no_grad():
            expected = model.eval()(torch.tensor([[5, 6, 7, 8]])).logits
        assert torch.allclose(logits(place / "aligned", tmp_path / name), expected, atol=1e-4)
        assert not torch.allclose(expected, logits(place / "aligned", place / "tuned"), atol=1e-2)


def test_the_cosine_is_that_of_the_published_gate(place: Path, tiny_model: Path) -> None:
    for module, update in read_lora(place / "tuned").factors.items():
        v, x = change(place, tiny_model, module), update.dense()
        c = v @ v.T / v.norm()
        expected = float((c @ x * x).sum() / ((c @ x).norm() * x.norm()))
        assert cosine(v.float(), update) == pytest.approx(expected, rel=1e-4)


def test_safe_lora_drops_what_lies_outside_the_alignment_and_its_projection_is_one(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    figures = repaired("safe_lora", {"share": 0.5, "energy": 1.0}, place, tiny_model, tmp_path / "out")
    before, after = dense(place / "tuned"), dense(tmp_path / "out")
    touched = {module for module, facts in figures["by_module"].items() if facts["repaired"]}
    assert (figures["modules"], figures["repaired"], len(touched)) == (4, 2, 2)
    cosines = {module: facts["cosine"] for module, facts in figures["by_module"].items()}
    assert max(cosines[m] for m in touched) < min(c for m, c in cosines.items() if m not in touched)
    for module, x in before.items():
        if module not in touched:
            assert torch.equal(after[module], x)
            continue
        u, s, _ = torch.linalg.svd(change(place, tiny_model, module))
        u = u[:, : int((s > 1e-5 * s[0]).sum())]
        assert u.shape[1] == 4  # the alignment is of rank 4
        assert torch.allclose(after[module], u @ u.T @ x, atol=1e-5)
        assert (x - after[module]).norm() > 0.1 * x.norm()
        kept = basis(change(place, tiny_model, module).float(), 1.0).double()
        assert torch.allclose(kept.T @ kept, torch.eye(4, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(logits(place / "aligned", tmp_path / "out"), logits(place / "aligned", tmp_path / "out"))


def test_less_energy_keeps_fewer_directions() -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(20, 3))[0] for _ in range(2))
    v = left @ torch.diag(torch.tensor([3.0, 2.0, 1.0])) @ right.T  # shares of ||V||^2: 9/14, 4/14, 1/14
    for energy, wanted in ((0.5, 1), (0.9, 2), (1.0, 3)):
        for matrix, side in ((v, left), (v[:, :12], left)):
            kept = basis(matrix, energy)
            assert kept.shape == (20, wanted)
            assert torch.allclose(side @ side.T @ kept, kept, atol=1e-4)  # inside the column space


def test_safemerge_touches_only_the_modules_under_the_threshold(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    cosines = repaired("safemerge", {"threshold": 0.0}, place, tiny_model, tmp_path / "none")["by_module"]
    original = file_digest(place / "tuned" / "adapter_model.safetensors")
    assert file_digest(tmp_path / "none" / "adapter_model.safetensors") == original
    middle = sorted(facts["cosine"] for facts in cosines.values())[1] + 1e-6
    figures = repaired("safemerge", {"threshold": middle, "weight": 0.3}, place, tiny_model, tmp_path / "some")
    assert figures["repaired"] == 2
    before, after, safety = dense(place / "tuned"), dense(tmp_path / "some"), dense(place / "safety")
    for module, facts in figures["by_module"].items():
        merged = 0.7 * before[module] + 0.3 * safety[module]
        assert facts["repaired"] == (facts["cosine"] < middle)
        assert torch.allclose(after[module], merged if facts["repaired"] else before[module], atol=1e-5)


def test_addition_is_the_identity_at_0_and_the_whole_sum_at_1(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    for scale in (0.0, 0.25, 1.0):
        repaired("add", {"scale": scale}, place, tiny_model, tmp_path / str(scale))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "0.0" / name).read_bytes() == (place / "tuned" / name).read_bytes()
    before, safety = dense(place / "tuned"), dense(place / "safety")
    for scale in (0.25, 1.0):
        for module, found in dense(tmp_path / str(scale)).items():
            assert torch.allclose(found, before[module] + scale * safety[module], atol=1e-5)
    with pytest.raises(ConfigError, match="less than or equal to 1"):
        mitigations.make("add", {"scale": 1.5})


def test_adapters_of_other_ranks_scales_and_modules_add_up_exactly(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    def made(name: str, seed: int, **settings: Any) -> Path:
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**settings))
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.5)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    first = made("first", 1, r=3, lora_alpha=7, target_modules=["q_proj"], use_rslora=True)
    patterns = {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 9}}
    second = made("second", 2, r=5, lora_alpha=5, target_modules=["q_proj", "v_proj"], **patterns)
    spec = mitigations.make("add", {"scale": 1.0})
    repair_adapter([spec], first, aligned=tiny_model, unaligned=None, safety=second, out=tmp_path / "sum")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for adapter in (first, second):
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    with torch.no_grad():
        expected = model.eval()(torch.tensor([[5, 6, 7, 8]])).logits
    assert torch.allclose(logits(tiny_model, tmp_path / "sum"), expected, atol=1e-4)
    tensors = load_file(tmp_path / "sum" / "adapter_model.safetensors")
    assert {t.shape[0] for n, t in tensors.items() if "lora_A" in n} == {8}  # one rank, which any loader reads


def test_a_cut_rank_is_the_nearest_matrix_and_its_error_is_reported(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    figures = repaired("add", {"scale": 0.5, "rank": "keep"}, place, tiny_model, tmp_path / "out")
    before, safety, after = dense(place / "tuned"), dense(place / "safety"), dense(tmp_path / "out")
    assert figures["rank"] == 4
    for module, facts in figures["by_module"].items():
        whole = before[module] + 0.5 * safety[module]
        u, s, v = torch.linalg.svd(whole, full_matrices=False)
        assert torch.allclose(after[module], u[:, :4] * s[:4] @ v[:4], atol=1e-4)
        assert facts["rank_error"] == pytest.approx(float((whole - after[module]).norm() / whole.norm()), abs=1e-4)
    assert figures["rank_error"] == max(facts["rank_error"] for facts in figures["by_module"].values())


def test_a_module_that_alignment_left_alone_has_no_cosine_and_stays(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    partly = shutil.copytree(place / "aligned", tmp_path / "partly")
    weights, untouched = load_file(partly / "model.safetensors"), "model.layers.0.self_attn.q_proj"
    weights[f"{untouched}.weight"] = load_file(tiny_model / "model.safetensors")[f"{untouched}.weight"]
    save_file(weights, partly / "model.safetensors", metadata={"format": "pt"})
    tuned = tiny.adapter(partly, tmp_path / "tuned", zero=False, seed=6)
    spec = mitigations.make("safe_lora", {"share": 1.0})
    (figures,) = repair_adapter([spec], tuned, aligned=partly, unaligned=tiny_model, safety=None, out=tmp_path / "out")
    assert (figures["repaired"], figures["no_reference"]) == (3, 1)
    assert figures["by_module"][untouched] == {"cosine": None, "repaired": False}
    assert torch.equal(dense(tmp_path / "out")[untouched], dense(tuned)[untouched])


def test_equal_models_as_reference_are_refused(place: Path, tmp_path: Path) -> None:
    for name in ("safe_lora", "safemerge"):
        with pytest.raises(ConfigError, match="equal weights"):
            repaired(name, {}, place, place / "aligned", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_on_another_model_than_the_aligned_one_is_refused(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    spec = mitigations.make("safe_lora")
    with pytest.raises(ModelError, match="The reference of a repair is the aligned model"):
        repair_adapter(  # aligned and unaligned in each other's place
            [spec], place / "tuned", aligned=tiny_model, unaligned=place / "aligned", safety=None, out=tmp_path / "out"
        )
    copied = shutil.copytree(place / "aligned", tmp_path / "elsewhere")
    repair_adapter([spec], place / "tuned", aligned=copied, unaligned=tiny_model, safety=None, out=tmp_path / "out")


def test_an_adapter_that_is_more_than_lora_is_one_line(place: Path, tmp_path: Path) -> None:
    dora = tiny.adapter(place / "aligned", tmp_path / "dora", use_dora=True)
    with pytest.raises(ModelError, match="only plain LoRA"):
        read_lora(dora)


def test_weights_that_are_not_whole_are_one_line(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelError, match="cut off"):
        repaired("safe_lora", {}, place, tmp_path / "cut", tmp_path / "out")
    shutil.copytree(place / "tuned", tmp_path / "half")
    held = load_file(tmp_path / "half" / "adapter_model.safetensors")
    save_file({k: v for k, v in held.items() if ".lora_A." in k}, tmp_path / "half" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="one of the two factors"):
        read_lora(tmp_path / "half")


def test_sums_and_cuts_of_factors() -> None:
    torch.manual_seed(0)
    one, other = (Factors(torch.randn(2, 5), torch.randn(6, 2), scale) for scale in (0.5, 2.0))
    both = summed([(1.0, one), (0.5, other)])
    assert both is not None
    assert torch.allclose(both.dense(), one.dense() + 0.5 * other.dense(), atol=1e-5)
    assert both.norm() == pytest.approx(float(both.dense().norm()), rel=1e-5)
    assert summed([(1.0, one), (0.0, other)]) is one
    assert summed([(1.0, None), (0.5, None)]) is None
    near, error = truncated(both, 4)
    assert near is both
    assert error == 0


def test_what_is_written_is_what_was_read(place: Path, tmp_path: Path) -> None:
    write_lora(read_lora(place / "tuned"), tmp_path / "same")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "same" / name).read_bytes() == (place / "tuned" / name).read_bytes()
    wider = read_lora(place / "tuned")
    name, found = next(iter(wider.factors.items()))
    more = found._replace(a=torch.cat([found.a, found.a]), b=torch.cat([found.b, found.b], dim=1))
    write_lora(Lora(wider.folder, wider.config, {**wider.factors, name: more}, {}), tmp_path / "wider")
    again = read_lora(tmp_path / "wider").factors
    assert torch.allclose(again[name].dense(), 2 * found.dense(), atol=1e-6)
    assert all(torch.allclose(again[m].dense(), f.dense()) for m, f in wider.factors.items() if m != name)


# In a study

GRID: dict[str, Any] = {
    "align": {"recipe": {"steps": 2, "batch_size": 2, "max_length": 1500, "learning_rate": 1e-2}, "chat_rows": 4},
    "train": {"steps": 2, "batch_size": 4, "max_length": 1500, "lora_rank": 4},
    "probes": {"intents": 11, "twins": 2, "max_new_tokens": 4, "forms": ["text_generation"]},
    "skill": {"rows": 3},
}


def study(model: Path | str, *arms: dict[str, Any], **changed: Any) -> Study:
    shared = {"stage": "repaired", "task": "classification"}
    raw = {**GRID, "model": str(model), "arms": [{**shared, **arm} for arm in arms], **changed}
    return parsed(raw, Study, where="test")


def arm(name: str, mitigation: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "mitigation": mitigation or {}, **more}


def test_the_reference_of_every_repair_is_the_aligned_model(tiny_model: Path) -> None:
    names = [n for n in mitigations.names() if "on_adapter" in mitigations.get(n).hooks()]
    assert len(names) >= 3
    plan = make_plan(study(tiny_model, *(arm(name, {name: {}}) for name in names)))
    (align,) = plan.align
    assert len(plan.repairs) == len(names)
    for step in plan.repairs:
        assert step.source.base_step == align.key
        fine_tune_step = next(s for s in plan.train if s.key == step.source.adapter_step)
        assert fine_tune_step.source.base_step == align.key
        if step.unaligned is not None:
            assert step.unaligned == align.model
        if step.safety_step is not None:
            safety = next(s for s in plan.train if s.key == step.safety_step)
            assert safety.source.base_step == align.key
            assert {row.kind for row in safety.data} == {"safety", "twin"}
    assert len(plan.train) == 2  # one fine-tune and one safety adapter serve all


def test_without_an_alignment_the_study_names_the_unaligned_base_and_it_must_differ(
    tiny_model: Path, place: Path
) -> None:
    repair = arm("r", {"safe_lora": {}})
    with pytest.raises(ConfigError, match="unaligned: MODEL"):
        make_plan(study(place / "aligned", repair, align=None))
    with pytest.raises(ConfigError, match="very weights of the aligned model"):
        make_plan(study(place / "aligned", repair, align=None, unaligned=str(place / "aligned")))
    plan = make_plan(study(place / "aligned", repair, align=None, unaligned=str(tiny_model)))
    assert plan.repairs[0].unaligned.folder == tiny_model  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="does not align itself"):
        study(tiny_model, repair, unaligned=str(tiny_model))


def test_a_sweep_of_repairs_trains_once_and_a_trainer_hook_has_a_step_of_its_own(tiny_model: Path) -> None:
    arms = [arm(f"add-{i}", {"add": {"scale": i / 4}}) for i in range(4)]
    plan = make_plan(study(tiny_model, arm("tuned", stage="tuned"), *arms, arm("ptst", {"ptst": {}})))
    assert (len(plan.train), len(plan.repairs)) == (2, 4)
    more = make_plan(
        study(tiny_model, arm("tuned", stage="tuned"), *(arm(f"e{d}", {"ema": {"decay": d}}) for d in (0.5, 0.9)))
    )
    assert len({step.key for step in more.train}) == 3
    assert plan.train[0].key in {step.key for step in more.train}


def test_another_setting_or_version_makes_another_key_and_nothing_else_moves(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multitask_bench.mitigations.ema import Ema

    arms = [arm("tuned", stage="tuned"), arm("e", {"ema": {}}), arm("m", {"safety_mix": {}})]
    before = [step.key for step in make_plan(study(tiny_model, *arms)).train]
    monkeypatch.setattr(Ema, "version", 2)
    after = [step.key for step in make_plan(study(tiny_model, *arms)).train]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_added_rows_bring_their_steps(tiny_model: Path) -> None:
    share = {"share": 0.25}
    arms = [
        arm("s", {"safety_mix": {**share, "mode": "add"}}),
        arm("b", {"benign_mix": share}),
        arm("t", stage="tuned"),
    ]
    steps = [step.recipe.steps for step in make_plan(study(tiny_model, *arms)).train]
    assert steps == [3, 3, 2]  # 8 rows, 2 safety rows, 2 twins


def test_ptst_shares_the_fine_tune_and_is_asked_under_the_safety_prompt_alone(tiny_model: Path) -> None:
    shared = {"skills": ["classification"]}
    plan = make_plan(study(tiny_model, arm("tuned", stage="tuned", **shared), arm("ptst", {"ptst": {}}, **shared)))
    assert len(plan.train) == 1
    assert plan.train[0].recipe.system == "none"
    asked = {(log.arm.name, log.kind, log.system) for log in plan.logs}
    both = {
        ("tuned", "probe", "none"),
        ("tuned", "task", "none"),
        ("ptst", "probe", "safety"),
        ("ptst", "task", "safety"),
    }
    assert asked == both


def test_a_log_under_the_prompt_that_a_mitigation_asks_for_is_not_missing(tiny_model: Path) -> None:
    grid = study(tiny_model, arm("ptst", {"ptst": {}}))
    said = {"said_in": {("native", "safety"): ledgers.saying(0.1)}}
    logs = ledgers.ledger({"ptst": ledgers.arm(ledgers.saying(0.1), "repaired", "classification", **said)}, n=2)
    assert missing_logs(grid, logs) == []
    assert missing_logs(study(tiny_model, arm("tuned", stage="tuned")), logs) == [
        "tuned, probes (native template, system prompt none)"
    ]


SELECT = {"settings": [{"add": {"scale": s}} for s in (0.0, 1.0)], "intents": 11, "twins": 2, "rows": 2}


def test_a_setting_is_chosen_on_validation_and_its_key_does_not_wait_for_the_outcome(tiny_model: Path) -> None:
    one = study(tiny_model, arm("add", {"add": {}}, select=SELECT))
    plan = make_plan(one)
    (step,) = plan.selects
    assert [c.mitigation["add"]["scale"] for c in step.candidates] == [0.0, 1.0]
    test = {probe.intent_id for log in plan.logs for probe in log.questions if log.kind == "probe"}  # type: ignore[union-attr]
    assert not {probe.intent_id for probe in step.questions} & test
    assert {row.split for row in step.rows} == {"validation"}
    assert {log.source.adapter_step for log in plan.logs} == {step.key}
    assert {answers.arm.name for answers in plan.answers} == {"add"}
    assert all(answers.source.adapter_step == step.key for answers in plan.answers)
    narrower = study(tiny_model, arm("add", {"add": {}}, select={**SELECT, "rows": 1}))
    assert make_plan(narrower).selects[0].key != step.key


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"select": {**SELECT, "settings": [{"add": {"scale": i / 7}} for i in range(7)]}}, "at most 6"),
        ({"select": {**SELECT, "settings": [{"add": {}}, {"add": {"scale": 0.5}}]}}, "are the same"),
        ({"select": {**SELECT, "settings": [{"ptst": {}}]}}, "an arm of its own"),
    ],
)
def test_a_choice_that_is_no_choice_is_one_line(tiny_model: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_plan(study(tiny_model, arm("a", {"add": {}}, **changed)))


def test_validation_intents_cannot_be_both_chosen_on_and_reported(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"set probes\.split to test"):
        make_plan(study(tiny_model, arm("a", select=SELECT), probes={**GRID["probes"], "split": "validation"}))


def figures(answered: float, twins: float, skill: float | None) -> dict[str, Any]:
    return {
        "answered": {"value": answered},
        "twins_refused": {"value": twins},
        "broken": {"value": 0.0},
        "twins_asked": 10,
        "skill": None if skill is None else {"value": skill},
    }


def test_the_rule_takes_the_largest_j_among_those_that_keep_the_task() -> None:
    plain = figures(0.9, 0.0, 0.80)
    tried = [figures(0.5, 0.1, 0.80), figures(0.3, 0.1, 0.76), figures(0.2, 0.5, 0.80), figures(0.0, 0.0, 0.70)]
    found = choose(tried, plain, reference={"value": 0.2}, margin=0.05)
    assert (found["chosen"], found["matched"]) == (1, True)
    assert [one["matched"] for one in found["candidates"]] == [True, True, True, False]
    assert found["candidates"][1]["j"] == pytest.approx(0.6)


def test_where_none_keeps_the_task_the_one_that_keeps_most_is_taken_and_called_unmatched() -> None:
    tried = [figures(0.0, 0.0, 0.2), figures(0.5, 0.0, 0.4)]
    found = choose(tried, figures(0.9, 0.0, 0.8), reference=None, margin=0.05)
    assert (found["chosen"], found["matched"]) == (1, False)
    unmeasured = [figures(0.5, 0.0, None), figures(0.1, 0.0, None)]
    found = choose(unmeasured, figures(0.9, 0.0, None), reference=None, margin=0.05)
    assert (found["chosen"], found["matched"]) == (1, None)


def test_a_candidate_must_keep_half_of_what_tuning_gained_however_wide_the_margin() -> None:
    tried = [figures(0.0, 0.0, 0.16), figures(0.3, 0.0, 0.19)]  # tuning took the task from 0.15 to 0.20
    found = choose(tried, figures(0.9, 0.0, 0.20), reference={"value": 0.15}, margin=0.05)
    assert found["chosen"] == 1
    assert found["allowed_loss"] == pytest.approx(0.025)
    assert [one["matched"] for one in found["candidates"]] == [False, True]


def test_a_study_repairs_selects_tells_of_every_candidate_and_computes_nothing_twice(
    tiny_model: Path, tmp_path: Path
) -> None:
    grid = study(
        tiny_model,
        arm("aligned", stage="aligned", task=None),
        arm("tuned", stage="tuned", skills=["classification"]),
        arm("ema", {"ema": {"decay": 0.5}}),
        arm("gated", {"safe_lora": {"share": 0.5}}),
        arm("added", {"add": {}}, select=SELECT, skills=["classification"]),
        arm("idle", {"add": {"scale": 0.0}}),
    )
    run = tmp_path / "run"
    results = run_study(grid, run, reporter=Reporter.make()).results
    told = {row["arm"]: row["mitigation"] for row in results["rows"]}
    assert told["ema"] == "ema(decay=0.5)"
    assert told["gated"] == "safe_lora(share=0.5)"
    (chosen,) = results["selections"]
    assert chosen["arm"] == "added"
    assert told["added"] == chosen["candidates"][chosen["chosen"]]["mitigation"]
    for one in [chosen["plain"], *chosen["candidates"]]:
        assert (one["answered"]["n"] + one["twins_refused"]["n"] + one["unjudged"], one["skill"]["n"]) == (13, 2)
    (folder,) = (run / "steps").glob("select-*")
    assert (chosen["metric"], chosen["margin"], chosen["broken_margin"]) == ("macro_f1", 0.05, 0.10)
    assert all(one["broken"]["n"] == 13 - one["unjudged"] for one in [chosen["plain"], *chosen["candidates"]])
    best = read_json(folder / "selection.json")["mitigation"]["add"]["scale"]
    idle = {text.partition(":")[0] for text in results["warnings"] if "changed none of" in text}
    assert idle == ({"idle", "added"} if best == 0.0 else {"idle"})
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(next((run / "steps").glob("align-*")) / "model"), folder / "adapter"
    )
    assert model is not None
    assert best in (0.0, 1.0)
    (repair,) = [p for p in (run / "steps").glob("repair-*/repair.json") if read_json(p)["name"] == "safe_lora"]
    assert read_json(repair)["repaired"] == round(read_json(repair)["modules"] / 2)
    before = {path: path.stat().st_mtime_ns for path in (run / "steps").rglob("*") if path.is_file()}
    assert run_study(grid, run, reporter=Reporter.make()).results == results
    assert {path: path.stat().st_mtime_ns for path in (run / "steps").rglob("*") if path.is_file()} == before


def test_another_rule_of_choice_leaves_no_answers_of_the_first(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = arm("plain", stage="tuned"), arm("add", {"add": {}}, select=SELECT)
    before = make_plan(study(tiny_model, *arms))
    monkeypatch.setitem(CODE, "select", CODE["select"] + 1)
    after = make_plan(study(tiny_model, *arms))
    assert {one.key for one in before.train} == {one.key for one in after.train}
    keys = [{one.answers.key for one in plan.logs if one.arm.name == "add" and one.answers} for plan in (before, after)]
    assert keys[0]
    assert keys[1]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("number", [0, 1])
def test_the_cost_of_a_chosen_setting_is_its_own(tiny_model: Path, tmp_path: Path, number: int) -> None:
    tried = [{"safety_mix": {"share": share, "mode": "add", "french": 0.0}} for share in (0.1, 0.5)]
    grid = study(tiny_model, arm("mixed", {"safety_mix": {}}, select={**SELECT, "settings": tried}))
    plan = make_plan(grid)
    (select,) = plan.selects
    record = {"mitigation": select.candidates[number].mitigation, "record": {"chosen": number}}
    write_json(tmp_path / "steps" / select.key / "selection.json", record)
    log = plan.logs[0]
    facts = LogWriter(grid, plan, StepFolders(tmp_path), reporter=Reporter.make())._facts(log)
    assert (facts["cost"]["safety_rows"], facts["cost"]["rows"]) == ((2, 10), (8, 16))[number]
    assert facts["cost"]["steps"] == (3, 4)[number]


def test_an_arm_that_learned_less_is_called_so() -> None:
    from multitask_bench.study.matched import learned_less

    arms = {
        "aligned": {"stage": "aligned", "model": "m"},
        "tuned-s0": {"stage": "tuned", "finetune_task": "code", "seed": 0, "model": "m"},
        "slow-s0": {"stage": "repaired", "finetune_task": "code", "seed": 0, "model": "m"},
        "good-s0": {"stage": "repaired", "finetune_task": "code", "seed": 0, "model": "m"},
        "slow-s1": {"stage": "repaired", "finetune_task": "code", "seed": 1, "model": "m"},
    }
    scores = {"aligned": 0.1, "tuned-s0": 0.6, "slow-s0": 0.4, "good-s0": 0.58, "slow-s1": 0.4}
    tasks = [{"arm": a, "task": "code", "metric": "chrF", "n": 40, "value": v} for a, v in scores.items()]
    found = learned_less(arms, tasks, margin=0.05)
    assert [(row["arm"], row["against"]) for row in found] == [("slow-s0", "tuned-s0")]
    assert found[0]["diff"] == pytest.approx(-0.2)
    assert "learned less" in found[0]["text"]
    near = [{**row, "value": 0.54} if row["arm"] == "aligned" else row for row in tasks]  # tuning gained 0.06
    assert {row["arm"] for row in learned_less(arms, near, margin=0.05)} == {"slow-s0"}
    nearer = [{**row, "value": 0.57} if row["arm"] == "aligned" else row for row in tasks]  # and 0.03
    assert {row["arm"] for row in learned_less(arms, nearer, margin=0.05)} == {"slow-s0", "good-s0"}
    other = [{**row, "metric": "pass@1"} if row["arm"] == "tuned-s0" else row for row in tasks]
    assert learned_less(arms, other, margin=0.05) == []  # two metrics have no difference


def test_what_a_repair_changed_is_counted_and_nothing_is_nothing(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    def done(name: str, **settings: Any) -> tuple[int, int]:
        out = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        figures = repaired(name, settings, place, tiny_model, out)
        same = {m: torch.allclose(found, dense(place / "tuned")[m], atol=1e-6) for m, found in dense(out).items()}
        assert figures["changed"] == sum(not one for one in same.values())
        return figures["repaired"], figures["changed"]

    assert done("safe_lora", share=0.5) == (2, 2)
    assert done("safe_lora", threshold=0.0) == (0, 0)
    assert done("safemerge", share=1.0, weight=0.5) == (4, 4)
    assert done("safemerge", share=1.0, weight=0.0) == (4, 0)  # chosen, and left as they were
    assert done("add", scale=0.0) == (0, 0)
    assert done("add", scale=0.0, rank="keep") == (0, 0)
    assert done("add", scale=0.5) == (4, 4)


@pytest.mark.parametrize(("stored", "told"), [({"changed": 0}, True), ({"changed": 2}, False), ({}, False)])
def test_a_repair_that_changed_nothing_stands_in_the_arms_facts(
    tiny_model: Path, tmp_path: Path, stored: dict[str, int], told: bool
) -> None:
    from multitask_bench.study.matched import unchanged

    grid = study(tiny_model, arm("merged", {"safemerge": {"weight": 0.0}}))
    plan = make_plan(grid)
    (repair,) = plan.repairs
    found = {"name": "safemerge", "modules": 4, "repaired": 4, **stored}  # without: of an earlier release
    write_json(tmp_path / "steps" / repair.key / "repair.json", found)
    facts = LogWriter(grid, plan, StepFolders(tmp_path), reporter=Reporter.make())._facts(plan.logs[0])
    assert facts.get("unchanged") == ([{"name": "safemerge", "modules": 4}] if told else None)
    said = ["merged: safemerge changed none of 4 modules; the adapter is what it was without it"]
    assert unchanged({"merged": facts}) == (said if told else [])


def test_fix_says_when_it_changed_nothing(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    shared = ("--aligned", place / "aligned", "--unaligned", tiny_model, "--safety", place / "safety")
    for number, method in enumerate(("safemerge:share=1.0,weight=0", "add:scale=0")):
        done = mtb("fix", place / "tuned", *shared, "--method", method, "--out", tmp_path / str(number))
        assert done.exit_code == 0, done.output
        assert "0 of 4 modules changed" in done.output
        assert "note: nothing was changed: the adapter written is the one given" in done.output
        assert read_json(tmp_path / str(number) / "repair.json")["changed"] == 0


# The verb


def mtb(*arguments: Any) -> Any:
    from typer.testing import CliRunner

    from multitask_bench.cli.main import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_fix_writes_a_repaired_adapter_and_says_what_to_do_next(place: Path, tiny_model: Path, tmp_path: Path) -> None:
    shared = ("--aligned", place / "aligned", "--unaligned", tiny_model)
    done = mtb("fix", place / "tuned", *shared, "--method", "safe_lora:share=0.5", "--out", tmp_path / "fixed")
    assert done.exit_code == 0, done.output
    assert "2 of 4 modules changed" in done.output
    assert "next: mtb check" in done.output
    assert logits(place / "aligned", tmp_path / "fixed").isfinite().all()
    assert read_json(tmp_path / "fixed" / "repair.json")["settings"]["share"] == 0.5


def test_fix_says_when_the_base_that_an_adapter_names_is_not_here(
    place: Path, tiny_model: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(place / "tuned", tmp_path / "moved")
    config = read_json(moved / "adapter_config.json")
    (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/gone"}))
    done = mtb("fix", moved, "--aligned", place / "aligned", "--unaligned", tiny_model, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "names '/gone' as its base" in done.stderr
    swapped = ("--aligned", tiny_model, "--unaligned", place / "aligned", "--base", place / "aligned")
    assert isinstance(mtb("fix", moved, *swapped, "--out", tmp_path / "swapped").exception, ModelError)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--unaligned": "ALIGNED"}, "equal weights"),
        ({"--method": "safe_lroa"}, "Did you mean 'safe_lora'"),
        ({"--method": "add"}, "give --safety FOLDER"),
        ({"--method": "safe_lora:share"}, "key=value"),
        ({"--base": "UNALIGNED"}, "The reference of a repair is the aligned model"),
    ],
)
def test_a_mistake_in_fix_is_told(
    place: Path, tiny_model: Path, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    stands = {"ALIGNED": place / "aligned", "UNALIGNED": tiny_model}
    options: dict[str, Any] = {"--aligned": "ALIGNED", "--unaligned": "UNALIGNED", "--out": tmp_path / "out", **changed}
    flat = [part for key, value in options.items() for part in (key, stands.get(value, value))]
    done = mtb("fix", place / "tuned", *flat)
    assert isinstance(done.exception, ConfigError | ModelError | UnknownNameError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
