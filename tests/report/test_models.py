"""Several base models in one study: each arm is held against its own model's arms, and against no other's."""

from __future__ import annotations

from typing import Any

import pytest

from multitask_bench.report import tables
from multitask_bench.report._groups import groups
from multitask_bench.report._select import base_models, document, main_series, reference
from multitask_bench.report.html import render
from multitask_bench.report.summary import clauses, repair_gaps
from multitask_bench.report.tables import answered_table, console_table, markdown_table
from tests.ledgers import arm, results, saying
from tests.report.documents import MANIFEST, two_models_document


@pytest.fixture(scope="module")
def both() -> dict[str, Any]:
    return document(two_models_document())


@pytest.fixture(scope="module")
def said(both: dict[str, Any]) -> list[str]:
    return clauses(both, warnings=False)


def test_every_arm_has_the_reference_of_its_own_model(both: dict[str, Any]) -> None:
    assert base_models(both) == ["org/A", "org/B"]
    arms = main_series(both)
    assert len(arms) == 14
    for one in arms:
        found = reference(both, one.model)
        assert found is not None
        assert found.arm == f"{one.arm[0]}.base"
    assert [one.arm[0] for one in arms] == ["a"] * 7 + ["b"] * 7
    assert [group.name[0] for group in groups(both)] == ["a"] * 4 + ["b"] * 4


def test_each_model_has_sentences_of_its_own_with_its_own_base_control_and_repair(said: list[str]) -> None:
    first, second = (text for text in said if text.startswith("Fine-tuning"))
    assert first.startswith("Fine-tuning org/A on code (these 2 adapters)")
    assert "did not measurably change answered: 5 % [" in first
    assert "control 8 % [" in first
    assert second.startswith("Fine-tuning org/B on code (these 2 adapters) raised answered from 10 % [")
    assert "to 83 % [" in second
    assert "control 18 % [" in second
    assert "10 % safety rows brought it to 38 % [" in second
    assert "still above b.base in text generation (2 of 2 seeds)" in second
    for text, other in ((first, "b."), (second, "a.")):
        assert f" {other}" not in text
    assert "brought it" not in first


def test_over_refusal_is_told_model_by_model(said: list[str]) -> None:
    first, second = (text for text in said if text.startswith("Harmless twins"))
    assert first.startswith("Harmless twins refused (org/A): a.base 10 % [")
    assert second.startswith("Harmless twins refused (org/B): b.base 10 % [")
    assert "b." not in first
    assert "a." not in second


def test_marks_stand_beside_the_arms_of_the_second_model_too(both: dict[str, Any]) -> None:
    table = answered_table(both)
    row = dict(zip(table.header, next(r for r in table.rows if r[0].startswith("all forms")), strict=True))
    marked = {name for name, cell in row.items() if "▲" in cell or "▼" in cell}
    assert marked == {"b.tuned-code (2 seeds)", "b.repaired-code (2 seeds)"}
    assert all(row[name].endswith("▲ 2/2") for name in marked)


def test_marks_of_one_seed_a_model_are_against_its_own_model_as_well() -> None:
    one_seed = two_models_document()
    for section in ("rows", "comparisons"):
        one_seed[section] = [
            r for r in one_seed[section] if not any(str(r.get(k)).endswith("-s1") for k in ("arm", "b"))
        ]
    table = answered_table(one_seed)
    assert table.header[1:5] == ["a.base", "a.control-chat-s0", "a.tuned-code-s0", "a.repaired-code-s0"]
    row = dict(zip(table.header, next(r for r in table.rows if r[0].startswith("all forms")), strict=True))
    assert {name for name, cell in row.items() if "▲" in cell} == {"b.tuned-code-s0", "b.repaired-code-s0"}
    assert tables.OWN_MODEL in markdown_table(one_seed)
    html = render(one_seed, MANIFEST, [], power=one_seed["power"])
    assert "▲ ▼: a rise or a fall shown against its own model before tuning (Holm p &lt; .05). answered" in html


def test_captions_say_what_an_arm_is_held_against(both: dict[str, Any]) -> None:
    for text in (str(console_table(both).caption), markdown_table(both)):
        assert "rise or fall against its own model before tuning shown" in text
        assert "against a.base" not in text


def test_the_html_has_no_pair_across_models_and_a_first_table_for_each(both: dict[str, Any]) -> None:
    html = render(both, MANIFEST, [], power=both["power"])
    for name in ("a.base", "b.base"):
        assert html.count(f"<th>{name}, held-out intents</th>") == 1
    for name in ("a", "b"):
        assert f"<summary>{name}.tuned-code-s1 against {name}.base</summary>" in html
        assert f"<summary>{name}.repaired-code-s1 against {name}.tuned-code-s1</summary>" in html
    assert "against b.base</summary>" in html
    assert "a.tuned-code-s0 against b." not in html
    assert "b.tuned-code-s0 against a." not in html
    assert "each arm against its own model before tuning" in html


def test_a_repair_is_held_against_its_own_model(both: dict[str, Any]) -> None:
    later = [one for one in main_series(both, "repaired") if one.model == "org/B"]
    assert [one.arm for one in later] == ["b.repaired-code-s0", "b.repaired-code-s1"]
    assert all(item["a"] == "b.base" for one in later for _, item in repair_gaps(both, one))
    assert [len(repair_gaps(both, one)) for one in later] == [5, 5]


def test_a_model_that_was_not_asked_before_tuning_has_no_change_to_tell() -> None:
    partial = two_models_document()
    partial["rows"] = [row for row in partial["rows"] if row["arm"] != "b.base"]
    partial["comparisons"] = [c for c in partial["comparisons"] if c["a"] != "b.base"]
    text = next(text for text in clauses(partial) if text.startswith("Fine-tuning org/B"))
    assert "no model from before the tuning was probed" in text
    assert "a.base" not in text


def test_an_arm_that_was_given_to_a_grid_is_named_and_held_against_no_model_of_it() -> None:
    mixed = two_models_document()
    given = [row | {"arm": "mine", "group": "mine", "model": "mine", "finetune_task": None, "seed": None}
             for row in mixed["rows"] if row["arm"] == "b.tuned-code-s0"]  # fmt: skip
    mixed["rows"] = [*mixed["rows"], *given]
    text = next(text for text in clauses(mixed) if "mine" in text)
    assert text.startswith("Fine-tuning (this model: mine) answered 80 % [")
    assert "no model from before the tuning was probed" in text


def test_two_models_that_were_given_are_no_grid() -> None:
    pair = results({"base": arm(saying(0.05), "base"), "tuned": arm(saying(0.6), "tuned")})
    for row in pair["rows"]:
        row["model"] = f"org/{row['arm']}"
    assert base_models(pair) == []
    assert clauses(pair)[0].startswith("Fine-tuning (this model) raised answered from 5 % [")
    assert "rise or fall against base shown" in markdown_table(pair)


def test_one_model_with_many_seeds_is_no_grid() -> None:
    arms = {"aligned": arm(saying(0.05), "aligned")}
    arms |= {f"t-s{seed}": arm(saying(0.6), "tuned", "code", seed=seed, group="t") for seed in (0, 1)}
    one = results(arms)
    assert clauses(one)[0].startswith("Fine-tuning on code (these 2 adapters) raised answered")
    assert {s.model for s in main_series(one)} == {None}
