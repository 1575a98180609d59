"""General capability by lm-eval from local files, and the loss on held-out rows: real numbers of a tiny real model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from multitask_bench.cli.main import main
from multitask_bench.errors import MtbError
from multitask_bench.models.chat import IGNORED, Encoded, encode_prompt, encode_row
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.models.load import open_local
from multitask_bench.records import read_json, write_jsonl
from multitask_bench.schema import Conversation, Message
from multitask_bench.stats.noninferiority import noninferior_binary
from multitask_bench.study.capability import Asked, capability, measure
from multitask_bench.study.capability_rows import paired
from multitask_bench.study.progress import Reporter
from tests import tiny

WORDS = ["a fern", "the long way home", "7", "blue", "under the table", "never again"]


@pytest.fixture(scope="module")
def local(tiny_model: Path) -> LocalModel:
    return LocalModel(tiny_model)


def conversation(prompt: str, answer: str) -> Conversation:
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Conversation(id=prompt, messages=turns)


def test_the_loss_of_a_batch_is_that_of_each_row_and_transformers_own(local: LocalModel, tiny_model: Path) -> None:
    rows = [encode_row(local.tokenizer, conversation("q" * n, word)) for n, word in enumerate(WORDS, start=1)]
    together = local.loss_of(rows, batch_size=4)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for row, found in zip(rows, together, strict=True):
        with torch.no_grad():
            ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
            mean = float(plain(input_ids=ids, labels=labels).loss)
        assert found.tokens == sum(label != IGNORED for label in row.labels)
        assert found.nats / found.tokens == pytest.approx(mean, rel=1e-4)
    assert local.loss_of([]) == []


def test_choices_are_compared_by_their_likelihood(local: LocalModel, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    rows = [
        {"id": f"q{n}", "question": f"Which is number {n}?", "choices": WORDS[n % 3 : n % 3 + 3], "answer": n % 3}
        for n in range(9)
    ]
    write_jsonl(tmp_path / "choices.jsonl", rows)
    (found,) = capability(local, [f"choices:{tmp_path}/choices.jsonl"], arm="base")
    right = {}
    for row in rows:
        asked = local.tokenizer(f"Question: {row['question']}\nAnswer:", add_special_tokens=False).input_ids
        spoken = [local.tokenizer(f" {c}", add_special_tokens=False).input_ids for c in row["choices"]]  # type: ignore[attr-defined]
        options = [Encoded([*asked, *ids], [IGNORED] * len(asked) + ids) for ids in spoken]
        nats = [loss.nats for loss in local.loss_of(options)]
        right[row["id"]] = nats.index(min(nats)) == row["answer"]
    assert found.right == right
    assert 0 < sum(right.values()) < 9
    assert (found.row["n"], found.row["value"]) == (9, pytest.approx(sum(right.values()) / 9))
    assert 0 <= found.row["low"] < found.row["value"] < found.row["high"] <= 1
    assert str(tmp_path) not in str(found.row)
    counts = paired(found, found)
    assert counts == {"a_only": 0, "b_only": 0, "n": 9}
    assert noninferior_binary(**counts, margin=0.5).verdict in ("noninferior", "inconclusive")


def test_instructions_are_checked_in_greedy_answers(local: LocalModel, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    pytest.importorskip("langdetect")
    rows = [
        {"key": n, "prompt": f"Say {word}.", "instruction_id_list": [name], "kwargs": [settings]}
        for n, (word, name, settings) in enumerate(
            [
                ("this", "punctuation:no_comma", {}),
                ("that", "length_constraints:number_words", {"relation": "at least", "num_words": 300}),
                ("those", "length_constraints:number_sentences", {"relation": "at least", "num_sentences": 1}),
            ]
        )
    ]
    write_jsonl(tmp_path / "ifeval.jsonl", rows)
    (found,) = capability(local, [f"ifeval:{tmp_path}/ifeval.jsonl"], arm="base", max_new_tokens=8)
    prompts = [encode_prompt(local.tokenizer, [Message(role="user", content=str(row["prompt"]))]) for row in rows]
    said = [answer.text for answer in local.answer(prompts, max_new_tokens=8)]
    assert found.right["0"] == ("," not in said[0] and bool(said[0].strip()))
    assert not found.right["1"]
    assert found.row["n"] + found.row["left_out"]["unfit"] == 3


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("choices:FILE", [{"question": "q", "choices": ["a", "b"], "answer": 2}], "row 1: 'choices' is a list"),
        ("choices:FILE", [{"question": "q", "choices": "a"}], "no column 'answer'"),
        ("ifeval:FILE", [{"prompt": "p", "instruction_id_list": ["x"], "kwargs": []}], "lists of one length"),
        (
            "choices:FILE",
            [{"id": 1, "question": "q", "choices": ["a", "b"], "answer": 0}] * 2,
            "two rows have the id '1'",
        ),
        ("words:FILE", [], "neither the name of an lm-eval task nor"),
        ("choices:nothing.jsonl", [], "no such file"),
    ],
)
def test_a_set_that_cannot_be_used_is_one_line(
    local: LocalModel, tmp_path: Path, name: str, rows: list[dict[str, object]], message: str
) -> None:
    pytest.importorskip("lm_eval")
    pytest.importorskip("langdetect")
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(MtbError) as caught:
        capability(local, [name.replace("FILE", str(tmp_path / "rows.jsonl"))], arm="base")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_verb_scores_models_holds_them_against_the_first_and_computes_nothing_twice(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    rows = [{"question": f"Which is {n}?", "choices": WORDS[n % 3 : n % 3 + 3], "answer": n % 3} for n in range(9)]
    write_jsonl(tmp_path / "choices.jsonl", rows)
    tiny.adapter(tiny_model, tmp_path / "tuned", zero=False)
    tuned, sets = open_local(str(tmp_path / "tuned")), [f"choices:{tmp_path}/choices.jsonl"]
    out = tmp_path / "out.json"
    verb = ["mtb", "capability", f"before={tiny_model}", str(tmp_path / "tuned"), "--task", sets[0], "--out", str(out)]
    monkeypatch.setattr("sys.argv", verb)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main()
    said = capfd.readouterr()
    assert done.value.code == 0
    assert f"choices (acc), tuned: {100 * read_json(out)['tasks'][1]['value']:.1f} % [" in said.out
    assert "against before: " in said.out
    assert "fatal" not in said.err

    first = read_json(out)
    (alone,) = capability(LocalModel(tuned.folder, adapter=tuned.adapter), sets, arm="tuned")
    assert first["tasks"][1] == alone.row
    right = [one["right"] for one in first["scored"].values()]
    (compared,) = first["comparisons"]
    assert (compared["a"], compared["b"], compared["n"]) == ("before", "tuned", 9)
    assert compared["value"] == pytest.approx((sum(right[1].values()) - sum(right[0].values())) / 9)
    assert str(tmp_path) not in str(first)

    monkeypatch.setattr("multitask_bench.study.capability.capability", lambda *_, **__: pytest.fail("run again"))
    with pytest.raises(SystemExit):
        main()
    assert read_json(out) == first
    assert "against before: " in capfd.readouterr().out


def test_a_file_of_another_kind_is_not_written_over(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    for name, content in (("a.json", "[1]"), ("b.json", '{"scored": 3}')):
        (tmp_path / name).write_text(content)
        with pytest.raises(MtbError, match="not written by mtb capability"):
            measure({}, [], tmp_path / name, asked=Asked(), margin=0.05, reporter=Reporter.make())
        assert (tmp_path / name).read_text() == content


def test_an_untrained_loss_is_near_that_of_guessing(local: LocalModel) -> None:
    rows = [encode_row(local.tokenizer, conversation(word, word)) for word in WORDS]
    total = local.loss_of(rows)
    mean = sum(loss.nats for loss in total) / sum(loss.tokens for loss in total)
    assert mean == pytest.approx(math.log(len(local.tokenizer)), abs=2.5)
