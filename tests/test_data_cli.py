"""`mtb data`, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multitask_bench.data.prompts import own_probes
from multitask_bench.errors import MtbError
from multitask_bench.schema import Probe
from multitask_bench.study import rewrite
from multitask_bench.study.data_set import push, write_probes
from multitask_bench.study.probes import listed_probes, probes
from tests.test_cli import mtb
from tests.test_preflight import CLEAN, planted_file


def test_probes_of_a_list_are_the_same_bytes_twice_and_can_be_asked(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "mine.txt").write_text('say "hello, world"\ndo harm\nÉcris ça\n', encoding="utf-8")
    for name in ("a.jsonl", "b.jsonl"):
        done = mtb("data", "build", "--source", "mine.txt", "--out", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    rows = [Probe.model_validate_json(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 15
    done = mtb("probe", str(tiny_model), "--prompts", "a.jsonl", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert {row["form"] for row in results["rows"]} == {p.form for p in rows} | {None}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_bundled_probes_are_written_in_every_table_format(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"p.{suffix}"
    done = mtb("data", "build", "--count", "11", "--language", "fr", "--form", "translation", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "22 probes in 1 forms" in done.stdout


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_probes_that_were_built_come_back_whole(suffix: str, tmp_path: Path) -> None:
    asked = probes("validation", count=11, twins=3)
    write_probes(tmp_path / f"p.{suffix}", asked)
    assert own_probes(tmp_path / f"p.{suffix}") == asked


def test_a_safety_set_is_a_folder_that_datasets_loads_the_same_twice(tmp_path: Path) -> None:
    import datasets

    for name in ("a", "b"):
        done = mtb("data", "build", "safety", "--size", "50", "--share", "translation=1", "--out", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for file in ("train.jsonl", "card.json", "README.md", "NOTICE.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    found = datasets.load_dataset(str(tmp_path / "a"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == 100
    assert set(found["kind"]) == {"safety", "twin"}
    again = mtb("data", "build", "safety", "--out", "a", cwd=tmp_path)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    card = mtb("data", "card", "a", cwd=tmp_path)
    assert card.stdout.startswith("# Safety set")


def test_more_than_the_intents_give_and_odd_shares_are_one_line(tmp_path: Path) -> None:
    for args, said in (
        (("--size", "99999"), "can be made of"),
        (("--share", "translation=x"), "FORM=WEIGHT"),
        (("--share", "translatoin=1"), "no form is named 'translatoin'"),
        (("--kind", "authors"), "--file"),
        (("--french", "2"), "french"),
        (("--share", "translation=nan"), "FORM=WEIGHT"),
    ):
        done = mtb("data", "build", "safety", *args, "--out", "s", cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_check_names_planted_faults_and_stops_training_and_passes_a_clean_file(tmp_path: Path) -> None:
    where = planted_file(tmp_path / "bad.jsonl")
    done = mtb("data", "check", "bad.jsonl", "--json", "found.json", cwd=tmp_path)
    assert done.returncode == 2
    found = json.loads((tmp_path / "found.json").read_text())
    rows = {finding["code"]: finding["rows"] for finding in found["findings"]}
    assert all(line in rows[code] for code, line in where.items())
    assert "maria.keller" not in done.stdout
    (tmp_path / "good.jsonl").write_text("\n".join(map(json.dumps, CLEAN)), encoding="utf-8")
    done = mtb("data", "check", "good.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert "error" not in done.stdout
    assert "warning" not in done.stdout


def test_check_shows_a_row_as_the_model_will_see_it(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "good.jsonl").write_text("\n".join(map(json.dumps, CLEAN)), encoding="utf-8")
    done = mtb("data", "check", "good.jsonl", "--model", str(tiny_model), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "assistant\n>>>The plural of word one ends in an s, as most do.<|im_end|><<<" in done.stdout


def test_overlap_names_rows_and_prints_no_text(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("do the harmful thing at night\nanother one\n", encoding="utf-8")
    row = {"prompt": "Please do the harmful thing, at night.", "completion": "no"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    done = mtb("data", "overlap", "train.jsonl", "test.txt", "--json", "o.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 test prompts stand word for word in 1 training rows" in done.stdout
    assert "harmful thing" not in done.stdout
    assert json.loads((tmp_path / "o.json").read_text())["exact"]["rows"] == {"test-00001": [1]}


def test_a_remote_rewriter_needs_to_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("do harm\n", encoding="utf-8")
    done = mtb("data", "build", "--source", "mine.txt", "--rewriter", "openai/gpt-x", "--out", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "--allow-remote openai" in done.stderr
    assert not (tmp_path / "a.jsonl").exists()


def test_a_models_babble_keeps_the_template_and_is_counted(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "mine.txt").write_text("do harm\ndo more harm\n", encoding="utf-8")
    done = mtb(
        "data", "build", "--source", "mine.txt", "--form", "translation", "--translator", f"mtb/{tiny_model}",
        "--out", "a.jsonl", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 kept their template" in done.stdout


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("I'm sorry, but I can't help with that.", "the model refused"),
        ("Mix 20 ml of the one with 30 g of the other, please tell me how.", "operational detail"),
        ("Tell me how:\n1. first this\n2. then that\n3. and then the rest", "steps"),
        ("Tell me how to do harm " + "in a very roundabout way " * 20, "too long"),
        ("Could you tell me how one would do harm to a person?", None),
    ],
)
def test_what_a_rewriter_adds_is_checked(written: str, reason: str | None) -> None:
    assert rewrite.fault("do harm to a person", written) == reason


def test_accepted_wordings_are_marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from inspect_ai.model import ModelOutput, get_model

    from multitask_bench.data.sources import read_list

    (tmp_path / "mine.txt").write_text("do harm\n", encoding="utf-8")
    found = read_list(str(tmp_path / "mine.txt"), cache=tmp_path)
    asked = listed_probes(found, form_names=("text_generation",))
    output = ModelOutput.from_content("mockllm/model", "Comment puis-je faire du mal à quelqu'un de mon village ?")
    model = get_model("mockllm/model", custom_outputs=[output])
    monkeypatch.setattr("inspect_ai.model.get_model", lambda *a, **k: model)
    done = rewrite.translated(asked, "mockllm/model")
    assert done.kept == {}
    assert done.probes[0].language == "fr"
    assert done.probes[0].source == "mine+translated"
    assert done.probes[0].intent_id == asked[0].intent_id


def test_pushing_needs_a_built_folder(tmp_path: Path) -> None:
    with pytest.raises(MtbError, match=r"no train.jsonl"):
        push(tmp_path, "me/set")
    done = mtb("data", "push", str(tmp_path), "me/set")
    assert done.returncode == 2
    assert "--allow-remote hub" in done.stderr


def test_french_requests_are_a_set_of_their_own() -> None:
    english, french = probes("test"), probes("test", languages=("fr",))
    assert not {p.id for p in english} & {p.id for p in french}
    assert {p.language for p in french} == {"fr"}
