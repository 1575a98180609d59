"""Labelled answers: the own format, the public sets, and `mtb judges measure` with the card it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitask_bench.cli.main import app
from multitask_bench.data.labels import read_labels
from multitask_bench.errors import DataError, MtbError
from multitask_bench.judges import _card, judges
from multitask_bench.records import write_jsonl

LABELLED = Path(__file__).parents[2] / "shared" / "data" / "labelled"

ROWS = [
    {"id": "1", "prompt": "How?", "response": "I can't help with that.", "label": "refused", "source_model": "m", "form": "translation", "language": "en", "stage": "tuned"},
    {"id": "2", "prompt": "How?", "response": "First knock, then wait by the old door.", "label": "complied", "source_model": "m", "language": "en"},
    {"id": "3", "prompt": "Why?", "response": "Because the sea is warm in the summer.", "label": "refused", "source_model": "n", "language": "fr"},
    {"id": "4", "prompt": "Who?", "response": "I won't say who it was, sorry.", "label": "refused", "source_model": "n", "labeller": "Ada"},
]  # fmt: skip


def labels_file(folder: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    path = folder / "mine.jsonl"
    write_jsonl(path, rows)
    return path


def test_an_own_file_is_read(tmp_path: Path) -> None:
    found = read_labels(str(labels_file(tmp_path)))
    assert [row.id for row in found.rows] == ["1", "2", "3", "4"]
    assert [row.answered for row in found.rows] == [False, True, False, False]
    assert found.rows[0].as_response().form == "translation"
    assert found.labelled_by.startswith("Ada")


@pytest.mark.parametrize(("label", "answered"), [("1", True), ("0", False), ("true", True), ("No", False)])
def test_binary_labels_say_whether_something_was_given(tmp_path: Path, label: str, answered: bool) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"prompt,response,label\nHow?,Fine.,{label}\n")
    (row,) = read_labels(str(path)).rows
    assert (row.outcome, row.answered) == (None, answered)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "a", "response": "b", "label": "harmful"}], "row 1: label 'harmful'"),
        ([{"prompt": "a", "response": "b", "label": "unscored"}], "label 'unscored'"),
        ([{"prompt": "a", "response": "b"}], "no column 'label'"),
        ([{**ROWS[0]}, {**ROWS[0]}], "id '1' occurs twice"),
        ([ROWS[0], {**ROWS[1], "label": "1"}], "both kinds"),
        ([{**ROWS[0], "options": "a, b"}], "JSON list"),
    ],
)
def test_a_fault_names_its_row(tmp_path: Path, rows: list[dict[str, str]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labels(str(labels_file(tmp_path, rows)))


def test_rows_on_sexual_harm_to_minors_are_dropped_and_counted(tmp_path: Path) -> None:
    found = read_labels(str(labels_file(tmp_path, [*ROWS, {**ROWS[0], "id": "some_child_porn_row"}])))
    assert len(found.rows) == 4
    assert found.dropped == {"sexual harm to minors": 1}


@pytest.mark.parametrize("labels", ["xstest", "xstst", "harmbench-val"])
def test_a_set_without_its_file_is_one_line(labels: str) -> None:
    done = CliRunner().invoke(app, ["judges", "measure", "--labels", labels])
    assert isinstance(done.exception, MtbError)


@pytest.mark.skipif(not LABELLED.is_dir(), reason="the labelled sets are not here")
def test_the_public_sets_are_read() -> None:
    xstest = read_labels("xstest", LABELLED / "xstest")
    assert len(xstest.rows) + sum(xstest.dropped.values()) == 1350
    assert {row.source_model for row in xstest.rows} == {"gpt4", "llama2orig", "mistralinstruct"}
    harmbench = read_labels("harmbench-val", LABELLED / "harmbench-val" / "text_behaviors_val_set.json")
    assert len(harmbench.rows) + sum(harmbench.dropped.values()) == 602
    assert all(row.outcome is None for row in harmbench.rows)


def measure(*args: str) -> str:
    done = CliRunner().invoke(app, ["judges", "measure", *args], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_rates_of_a_card_are_right(tmp_path: Path) -> None:
    out = tmp_path / "card.json"
    text = measure("--labels", str(labels_file(tmp_path)), "--out", str(out))
    made = json.loads(out.read_text())
    assert made["config_hash"] == judges.make("refusal").config_hash
    total = next(row for row in made["measured"] if row["model"] == "all")
    assert (total["n"], total["unjudged"], total["positive"]) == (4, 0, "refused")
    assert total["counts"] == {"hits": 2, "positives": 3, "cleared": 1, "negatives": 1}
    assert total["answered"]["counts"] == {"hits": 1, "positives": 1, "cleared": 2, "negatives": 3}
    assert total["accuracy"]["value"] == 0.75
    assert total["kappa"]["value"] == pytest.approx(0.5)
    for row in made["measured"]:
        for key in ("accuracy", "sensitivity", "specificity"):
            assert row[key]["value"] is None or row[key]["low"] <= row[key]["value"] <= row[key]["high"]
    assert {(row["by"], row["value"]) for row in made["slices"]} >= {("form", "translation"), ("stage", "tuned")}
    assert "code generation" in made["not_measured"][0]
    assert "translation" not in made["not_measured"][0]
    assert "n=4" in text
    assert "knock" not in text  # answers are never printed


def test_reports_find_the_users_card_of_the_same_configuration_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTB_CACHE", str(tmp_path / "cache"))
    bundled = _card.card("refusal")
    assert bundled is not None
    measure("--labels", str(labels_file(tmp_path)))
    measure("--labels", str(labels_file(tmp_path)))
    both = _card.card("refusal")
    assert both is not None
    assert len(both["measured"]) == len(bundled["measured"]) + 3  # once: the second run replaces the first
    assert "answers of fine-tuned models" not in both["not_measured"]
    path = _card.card_file("refusal", bundled["config_hash"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "config_hash": "0" * 16}))
    assert _card.card("refusal") == bundled


def test_a_second_set_is_added_to_the_users_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTB_CACHE", str(tmp_path / "cache"))
    measure("--labels", str(labels_file(tmp_path)))
    other = tmp_path / "other.jsonl"
    write_jsonl(other, ROWS[:2])
    measure("--labels", str(other), "--words", "3")
    found = json.loads(_card.card_file("refusal", judges.make("refusal").config_hash).read_text())
    assert {(row["set"], row["truncated_words"]) for row in found["measured"]} == {("mine", None), ("other", 3)}


def test_a_damaged_card_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTB_CACHE", str(tmp_path))
    path = _card.card_file("refusal", judges.make("refusal").config_hash)
    path.parent.mkdir(parents=True)
    path.write_text("[]")
    with pytest.raises(DataError, match="measure again"):
        _card.card("refusal")
