"""The bundled data is what its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from multitask_bench.data import benign, refusals
from multitask_bench.data.chat_formats import TrainRow, Turn
from multitask_bench.data.intents import BUNDLED, bundled_intents, intents
from multitask_bench.data.near import near_duplicates
from multitask_bench.data.overlap import TestText as HeldText
from multitask_bench.data.overlap import overlap
from multitask_bench.data.overlap import test_texts as texts_of
from multitask_bench.forms import forms
from multitask_bench.judges._language import language as language_of
from multitask_bench.schema import Conversation, Language
from multitask_bench.study import card
from multitask_bench.study.bundled_card import bundled_card
from multitask_bench.study.probes import FORMS, probes
from multitask_bench.study.safety_set import SafetySet, safety_rows

SHARED = Path(__file__).parents[2] / "shared" / "data"
LANGUAGES: tuple[Language, ...] = ("en", "fr")


def shipped() -> list[Conversation]:
    return safety_rows(card.shipped_set())


def as_train(rows: list[Conversation]) -> list[TrainRow]:
    turns = [tuple(Turn(m.role, m.content) for m in row.messages) for row in rows]
    return [TrainRow(n, "messages", turn) for n, turn in enumerate(turns)]


def test_there_are_enough_intents_in_every_hazard_and_split() -> None:
    found = Counter((i.hazard, i.split) for i in bundled_intents())
    hazards = {hazard for hazard, _ in found}
    assert len(hazards) >= 11
    assert all(found[hazard, "test"] >= 20 for hazard in hazards)
    assert len(intents("test")) >= 240
    assert len(intents("train")) >= 250
    assert len(intents("validation")) >= 40


def test_no_cluster_stands_in_two_splits() -> None:
    clusters = [{i.cluster for i in intents(s)} for s in ("train", "validation", "test")]
    assert sum(map(len, clusters)) == len(set.union(*clusters))


@pytest.mark.parametrize("name", forms.names())
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_form_has_eight_templates_a_language_two_of_them_held_out(name: str, language: Language) -> None:
    form = forms.make(name)
    assert len(form.wordings(language)) == 8
    assert len(form.wordings(language, held_out=True)) == 2
    assert len({t.id for t in form.templates}) == len(form.templates)
    assert len(form.request_templates) >= 4


def test_every_variant_the_forms_promise_is_seen_and_held_out() -> None:
    for name, kinds in (
        ("code_generation", {"write", "complete", "translate"}),
        ("classification", {"which", "label"}),
        ("summarization", {"text", "dialogue"}),
    ):
        for language in LANGUAGES:
            seen = {t.kind for t in forms.make(name).wordings(language, held_out=False)}
            held = {t.kind for t in forms.make(name).wordings(language, held_out=True)}
            assert seen == kinds
            assert held <= kinds
            assert len(held) == 2


def test_all_five_forms_were_found() -> None:
    assert set(forms.names()) == set(FORMS)


@pytest.mark.parametrize("name", forms.names())
def test_every_intent_fills_every_template(name: str) -> None:
    form = forms.make(name)
    for intent in bundled_intents():
        for template in form.templates:
            for twin in (False, True):
                probe = form.write(intent, template, twin=twin, language=template.language)
                assert "{" not in probe.prompt.replace("{\n", "").replace("\n}", "")
                assert not twin or form.answer(intent.twin, template, template.language).strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_probes_are_distinct_and_paired_over_forms(language: Language) -> None:
    made = probes("test", languages=(language,))
    assert len({p.prompt for p in made}) == len(made)
    for twin in (False, True):
        ids = [{p.intent_id for p in made if p.form == f and p.twin == twin} for f in FORMS]
        assert all(i == ids[0] and len(i) >= 240 for i in ids)


def test_half_of_the_translations_are_from_french_also_within_clusters() -> None:
    made = [p for p in probes("test") if p.form == "translation" and not p.twin]
    french = {p.intent_id for p in made if p.language == "fr"}
    assert abs(len(french) - len(made) / 2) <= 1
    assert all(p.target_language == ("en" if p.language == "fr" else "fr") for p in made)
    clusters: dict[str, list[str]] = {}
    for intent in intents("test"):
        clusters.setdefault(intent.cluster, []).append(intent.id)
    assert all(len(set(ids) & french) in (1, len(ids) - 1) for ids in clusters.values() if len(ids) == 2)


def test_a_probe_is_the_same_one_whatever_the_size_of_the_study() -> None:
    whole = {p.id: p for p in probes("test")}
    assert all(whole[p.id] == p for p in probes("test", count=24, twins=12))


def test_no_two_probes_and_no_two_training_prompts_are_nearly_the_same() -> None:
    """Within one form and template kind; a pair of twins shares its words on purpose."""
    for name in FORMS:
        texts = [p.prompt for p in probes("test", form_names=(name,)) if not p.twin]
        assert near_duplicates(texts, jaccard=0.8) == []
    goals = [i.harmful.en.goal for i in bundled_intents()] + [i.twin.en.goal for i in bundled_intents()]
    assert len(set(goals)) == len(goals)
    assert near_duplicates([i.harmful.en.notes for i in bundled_intents()], jaccard=0.6) == []


def test_both_sides_are_in_the_language_they_claim() -> None:
    wrong = []
    for intent in bundled_intents():
        for side in (intent.harmful, intent.twin):
            for claimed in LANGUAGES:
                text = f"{side.wording(claimed).notes} {side.message.en if claimed == 'en' else side.message.fr}"
                if language_of(text).name != claimed:
                    wrong.append(intent.id)
    assert wrong == []


def test_the_two_sides_of_an_intent_are_of_like_length() -> None:
    for name in FORMS:
        made = probes("test", form_names=(name,))
        harmful = sum(len(p.prompt) for p in made if not p.twin)
        twins = sum(len(p.prompt) for p in made if p.twin)
        assert 0.85 <= harmful / twins <= 1.15


def test_right_options_and_labels_are_spread() -> None:
    solutions = [i.twin.solution for i in bundled_intents() if i.twin.solution]
    choices = Counter(s.choice for s in solutions)
    labels = Counter(s.label for s in solutions)
    assert all(0.2 <= choices[k] / len(solutions) <= 0.47 for k in range(3))
    assert all(0.35 <= labels[k] / len(solutions) <= 0.65 for k in range(2))


def test_every_code_answer_parses_and_passes_its_test() -> None:
    code = []
    for intent in bundled_intents():
        solution = intent.twin.solution
        assert solution is not None
        assert solution.test is not None
        assert f"def {intent.twin.function}:" in solution.code
        compile(solution.code, intent.id, "exec")
        code.append(f"exec({json.dumps(solution.code + chr(10) + solution.test)}, {{}})")
    program = "\n".join(code)
    done = subprocess.run([sys.executable, "-I", "-"], input=program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]


def test_twins_are_hard_for_a_bag_of_words() -> None:
    found = card.twin_auc()
    assert set(found) == {"all", *FORMS}
    assert all(value <= 0.9 for value in found.values()), found


def test_every_test_probe_was_read_twice_and_most_are_plainly_to_be_refused() -> None:
    found = card.agreement()
    wanted = Counter(p.form for split in ("test", "validation") for p in probes(split, languages=LANGUAGES))  # type: ignore[arg-type]
    for name in FORMS:
        assert found[name]["n"] == wanted[name]
        assert found[name]["refuse"] >= 0.85
        assert found[name]["kappa"] >= 0.8


def test_the_card_beside_the_data_is_the_one_the_data_gives() -> None:
    assert (BUNDLED / "CARD.md").read_text("utf-8") == bundled_card()


def test_the_shipped_safety_set_is_large_varied_and_half_twins() -> None:
    rows = shipped()
    found = card.conversation_facts(rows)
    assert found["kinds"] == {"safety": card.SHIPPED_SIZE, "twin": card.SHIPPED_SIZE}
    per_form = Counter(row.id.split(".")[2][:2] for row in rows if row.kind == "safety")
    assert all(count >= 500 for count in per_form.values())
    assert len(per_form) == 5
    for name in ("refusals", "answers"):
        assert found[name]["most_common_opening_share"] <= 0.02
        assert found[name]["gzip_ratio"] >= 0.85 * card.benign_gzip_ratio()


def test_safety_rows_never_show_a_held_out_template_or_a_test_intent() -> None:
    held = {t.id for n in FORMS for t in forms.make(n).templates if t.held_out}
    train = {i.id for i in intents("train")}
    for row in shipped():
        intent, _, template, _ = row.id.split(".")
        assert intent in train
        assert template not in held


def test_a_refusal_is_in_the_language_of_the_request() -> None:
    wrong = [
        row.id
        for row in shipped()
        if row.kind == "safety"
        and language_of(row.messages[-1].content).name
        not in (None, "fr" if row.id.split(".")[2].endswith("f") else "en")
    ]
    assert len(wrong) <= 0.005 * card.SHIPPED_SIZE, wrong[:5]


def test_the_same_settings_give_the_same_set_and_another_seed_another() -> None:
    one = SafetySet.model_validate({"size": 200, "seed": 1})
    assert safety_rows(one) == safety_rows(one)
    assert safety_rows(one) != safety_rows(one.model_copy(update={"seed": 2}))


def test_shares_of_forms_are_kept_to_the_row() -> None:
    settings = SafetySet.model_validate({"size": 101, "forms": {"translation": 3, "summarization": 1}, "twins": False})
    found = Counter(row.id.split(".")[2][:2] for row in safety_rows(settings))
    assert found == {"tr": 76, "su": 25}


def test_the_plain_set_has_the_same_size_and_one_form() -> None:
    rows = safety_rows(SafetySet.model_validate({"kind": "plain", "size": card.SHIPPED_SIZE}))
    assert len(rows) == 2 * card.SHIPPED_SIZE
    assert {row.id.split(".")[2][:2] for row in rows} == {"tg"}


def test_training_rows_hold_no_test_probe() -> None:
    texts = [HeldText(p.id, p.prompt) for p in probes("test", languages=LANGUAGES)]
    found = overlap(as_train(shipped()), texts)
    assert (found.exact, found.near) == ({}, {})


@pytest.mark.skipif(not (SHARED / "harmful").is_dir(), reason="the public lists are not on this machine")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("advbench", "harmful/advbench/harmful_behaviors.csv"),
        ("harmbench", "harmful/harmbench/harmbench_behaviors_text_all.csv"),
        ("strongreject", "harmful/strongreject/strongreject_dataset.csv"),
        ("jailbreakbench", "harmful/jailbreakbench/jbb_harmful_behaviors.csv"),
        ("simplesafetytests", "harmful/simplesafetytests/simplesafetytests.csv"),
        ("xstest", "labelled/xstest/xstest_prompts.csv"),
    ],
)
def test_no_bundled_prompt_holds_a_request_of_a_public_set(name: str, file: str, tmp_path: Path) -> None:
    asked = [TrainRow(n, "messages", (Turn("user", p.prompt),)) for n, p in enumerate(probes("test"))]
    found = overlap([*asked, *as_train(shipped())], texts_of(name, file=SHARED / file, cache=tmp_path))
    assert found.test_rows > 50
    assert (found.exact, found.near) == ({}, {})


def test_every_training_intent_has_its_own_refusals_in_every_form() -> None:
    written = refusals.written_refusals()
    for intent in intents("train"):
        for name in FORMS:
            assert len(written[intent.id, name, "en"]) >= 2
            assert len(written[intent.id, name, "fr"]) >= 1


@pytest.mark.parametrize("task", benign.TASKS)
def test_a_task_has_at_least_150_rows_in_three_splits(task: str) -> None:
    every = benign.rows(task)
    assert len(every) >= 150
    assert {r.split for r in every} == {"train", "validation", "test"}
    assert len({r.prompt for r in every}) == len(every)


def test_every_bundled_function_passes_its_own_tests() -> None:
    code = [
        r.answer.removeprefix("```python\n").removesuffix("\n```") + "\n" + "\n".join(r.tests)
        for r in benign.rows("code")
    ]
    assert all(r.tests for r in benign.rows("code"))
    done = subprocess.run([sys.executable, "-I", "-c", "\n".join(code)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
