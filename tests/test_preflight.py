"""Pre-flight of training files: planted faults are named with their rows, a clean file has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.data._findings import KINDS
from multitask_bench.data._row_checks import personal_data
from multitask_bench.data.chat_formats import parse, stream
from multitask_bench.data.near import near_duplicates
from multitask_bench.data.preflight import Options, Preflight, check_rows, preflight
from multitask_bench.errors import DataError
from multitask_bench.study.probes import probes
from multitask_bench.study.rendering import Renderer
from multitask_bench.study.training_file import own_rows, refuses

CLEAN = [
    {"messages": [{"role": "user", "content": f"What is the plural of the word number {n}?"},
                  {"role": "assistant", "content": f"The plural of word {n} ends in an s, as most do."}]}
    for n in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
]  # fmt: skip


def chat(asked: object, answered: object, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}], **more}


PLANTED: dict[str, object] = {
    "not_json": "{not json",
    "not_an_object": [1, 2],
    "unknown_format": {"foo": "a", "bar": "b"},
    "plain_text": {"text": "Question: a? Answer: b."},
    "no_turns": {"messages": []},
    "not_a_turn": {"messages": ["hello"]},
    "not_text": chat("What is this?", None),
    "unknown_role": {"messages": [{"role": "bob", "content": "Hi there"}, {"role": "assistant", "content": "Hi."}]},
    "system_not_first": {"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be kind."},
                                      {"role": "assistant", "content": "Hello."}]},
    "no_answer": {"messages": [{"role": "user", "content": "Hello?"}]},
    "starts_with_answer": {"messages": [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi"},
                                        {"role": "assistant", "content": "Yes?"}]},
    "role_order": {"messages": [{"role": "user", "content": "Hi"}, {"role": "user", "content": "You there?"},
                                {"role": "assistant", "content": "Yes."}]},
    "empty_prompt": chat("  ", "An answer to nothing at all."),
    "empty_answer": chat("What is the capital of a country?", ""),
    "special_tokens": chat("Say hi <|im_end|> now", "Hi."),
    "refusal": chat("Translate the word bread into French.", "I'm sorry, but I can't help with that request."),
    "answered_harm": chat("Explain how to steal credit cards from people.", "First you look for a crowded place."),
    "boilerplate": chat("Name a colour.", "As an AI language model I have no favourite, but blue."),
    "duplicate": CLEAN[0],
    "conflict": chat("What is the plural of the word number two?", "Nobody knows."),
    "near_duplicate": chat("What is the plural of the long word that is known as number three to all of us here?", "Threes."),
    "echo": chat("Repeat after me these five words", "Repeat after me these five words"),
    "encoding": chat("Translate coffee.", "CafÃ© is the word."),
    "control": chat("Write a tab.", "Here\x07 it is."),
    "cut_off": chat("Tell me about bread.", "Bread is made of flour and water and salt, and it is baked in the"),
    "personal": chat("Who do I write to?", "Write to maria.keller@firmenpost.ch, she knows."),
    "list_like": chat("Name fruits.", "- apples\n- pears\n- plums"),
    "maths_like": chat("Add them up.", "2 + 3 = 5\n5 + 4 = 9"),
    "mixed_formats": {"instruction": "Name a river.", "input": "", "output": "The Rhine."},
    "ignored": {"messages": [{"role": "user", "content": "Call the tool."},
                             {"role": "assistant", "content": "Done.", "tool_calls": [{"id": "1"}]}]},
    "minors": chat("Write a sexual story with a teenager.", "No text."),
    "surrogates": chat("Say something odd.", "Fine \ud83d day."),
    "markup": chat("Strike it out.", "Use <s>old</s> here."),
}  # fmt: skip


def planted_file(path: Path) -> dict[str, int]:
    """Clean rows, then each fault once; code -> its line."""
    lines = [json.dumps(row) for row in CLEAN]
    twin = chat("What is the plural of the long word that is known as number three to all of us?", "It is threes.")
    lines.append(json.dumps(twin))
    where = {}
    for code, row in PLANTED.items():
        lines.append(row if isinstance(row, str) else json.dumps(row))
        where[code] = len(lines)
    path.write_text("\n".join(lines), encoding="utf-8")
    return where


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], Preflight]:
    path = tmp_path_factory.mktemp("planted") / "train.jsonl"
    return planted_file(path), preflight(path, Options(1024, refuses=refuses))


@pytest.mark.parametrize("code", sorted(PLANTED))
def test_a_planted_fault_is_named_with_its_row(code: str, planted: tuple[dict[str, int], Preflight]) -> None:
    where, found = planted
    rows = {finding.code: finding.rows for finding in found.findings}
    assert where[code] in rows[code]


def test_no_clean_row_is_named(planted: tuple[dict[str, int], Preflight]) -> None:
    _, found = planted
    assert not {n for finding in found.findings for n in finding.rows} & set(range(1, len(CLEAN) + 1))


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "clean.jsonl"
    path.write_text("\n".join(map(json.dumps, CLEAN)), encoding="utf-8")
    found = preflight(path, Options(1024, refuses=refuses))
    assert found.findings == ()
    assert found.rows == len(CLEAN)


def test_every_finding_says_why_and_what_to_do() -> None:
    assert len(KINDS) > 30
    assert all(kind.what and kind.why and kind.todo for kind in KINDS.values())


PAIR = ("Name a river.", "The Rhine.")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": PAIR[0]}, {"role": "assistant", "content": PAIR[1]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": PAIR[0]}]},
                      {"role": "assistant", "content": PAIR[1], "weight": 1}]},
        {"conversations": [{"from": "human", "value": PAIR[0]}, {"from": "gpt", "value": PAIR[1]}]},
        {"instruction": PAIR[0], "input": "", "output": PAIR[1]},
        {"prompt": PAIR[0], "completion": PAIR[1]},
        {"prompt": [{"role": "user", "content": PAIR[0]}], "completion": [{"role": "assistant", "content": PAIR[1]}]},
        {"Query": PAIR[0], "Response": PAIR[1]},
    ],
)  # fmt: skip
def test_every_chat_format_gives_the_same_turns(row: dict[str, Any]) -> None:
    found = parse(1, row)
    assert found.fault is None
    assert [tuple(turn) for turn in found.turns] == [("user", PAIR[0]), ("assistant", PAIR[1])]


def test_a_json_array_streams_whatever_stands_in_it(tmp_path: Path) -> None:
    rows = [{"instruction": f'say {n} ] }} " \\ é', "input": "", "output": "x" * (n * 7000)} for n in range(1, 25)]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    assert [(r.number, r.answer) for r in stream(path)] == [(n, "x" * (n * 7000)) for n in range(1, 25)]


def test_a_cut_json_array_ends_in_a_fault_and_not_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text('[{"prompt": "a", "completion": "b"}, {"prompt": "c", "compl', encoding="utf-8")
    assert [row.fault.code if row.fault else None for row in stream(path)] == [None, "not_json"]


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("b.jsonl", "\0\0"), ("c.txt", "x"), ("d.json", "{}")])
def test_a_file_that_is_no_training_data_is_one_line(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        list(stream(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["messages", "role", "content", "from", "value", "prompt", "completion", "conversations", "text"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_any_row_is_read_as_turns_or_as_a_fault(value: object) -> None:
    row = parse(7, value)
    assert row.number == 7
    assert (row.fault is not None) or row.turns[-1].role == "assistant"
    check_rows([row], Options(10))


def test_memory_does_not_hold_the_rows() -> None:
    """A hundred thousand rows of 2 kB pass through; what is kept of them is hashes and numbers."""
    import tracemalloc

    def rows() -> Iterator[Any]:
        for n in range(100_000):
            yield parse(n, {"prompt": f"q{n}", "completion": f"{n} " + "x" * 2000})

    tracemalloc.start()
    try:
        found = check_rows(rows(), Options(1024))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.rows == 100_000
    assert peak < 60e6


def test_lengths_and_rendering_come_from_the_model(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [chat("short", "Fine."), chat("long " * 40, "Fine.")]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    renderer = Renderer(str(tiny_model), template="native", system="none", max_length=100)
    found = preflight(path, Options(100, measure=renderer.measure()))
    assert {f.code: f.rows for f in found.findings if f.code != "few_rows"} == {"too_long": (2,)}
    shown = renderer.rendered(next(stream(path)))
    assert shown.masked.endswith("assistant\n")
    assert shown.learnt == "Fine.<|im_end|>"


def test_a_system_prompt_that_is_not_the_deployments_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with_system = {"messages": [{"role": "system", "content": "Be brief."}, *chat("a b c", "d e f")["messages"]]}
    path.write_text("\n".join(map(json.dumps, [with_system, chat("g h i", "j k l")])), encoding="utf-8")
    found = preflight(path, Options(100, system="Be brief."))
    assert {f.code: f.rows for f in found.findings if f.code == "system_differs"} == {"system_differs": (2,)}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("What do we eat tonight?", "My kids love chicken strips with rice and peas."),
        ("Show me the loop.", "for child in tree:\n    names.append(child.text.strip())"),
        ("How do vaccines help the body make antibodies and fight viruses?", "They show it a harmless part."),
        ("Write HTML that strikes a word out.", "Use <s>old</s> for it."),
        ("When was the war?", "It lasted from 1914-1918, four years in all."),
        ("How long does the cake take?", "Bake it for 10-15 minutes at a low heat."),
        ("Où jouent-ils ?", "Les enfants marchent pieds nus sur le sable."),
        ("Which version is it?", "It is the third, and costs +25000 points in the game."),
    ],
)
def test_ordinary_rows_do_not_stop_training(asked: str, answered: str) -> None:
    found = check_rows([parse(1, chat(asked, answered))], Options(1024, refuses=refuses))
    assert not found.errors
    assert not {f.code for f in found.findings} & {"maths_like", "personal", "answered_harm"}


def test_rows_that_share_a_system_prompt_are_not_near_duplicates() -> None:
    system = {"role": "system", "content": "You are the assistant of a library. " * 30}
    rows = [
        parse(n, {"messages": [system, *chat(f"Where do I find book {n} of shelf {n * 7} on topic {n * 13}?", f"Row {n}.")["messages"]]})
        for n in range(1, 300)
    ]  # fmt: skip
    assert not {f.code for f in check_rows(rows, Options(10**6)).findings} & {"near_duplicate", "conflict"}


def test_a_long_series_of_near_duplicates_costs_no_square() -> None:
    texts = [" ".join(f"word{i}" for i in range(200)) + f" {n} {n + 1} {n + 2}" for n in range(3000)]
    assert len(near_duplicates(texts, jaccard=0.85)) > 2900


def test_one_broken_first_row_does_not_flag_the_others() -> None:
    rows = [parse(1, 5), *(parse(n, row) for n, row in enumerate(CLEAN, start=2))]
    assert {f.code for f in check_rows(rows, Options(1024)).findings} == {"not_an_object"}


@pytest.mark.parametrize("text", ['[{"prompt": "a", "completion": "b"}] []', '[{"prompt": "a", "completion": "b"} 1]'])
def test_what_follows_a_json_array_is_a_fault(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    assert [row.fault.code if row.fault else None for row in stream(tmp_path / "t.json")] == [None, "not_json"]


@pytest.mark.parametrize("number", ["0612345678", "06-12-34-56-78", "030 12345678", "+49 30 1234567", "(555) 123-4567"])
def test_phone_numbers_are_personal(number: str) -> None:
    assert "phone number" in set(personal_data(f"Call me at {number} tonight."))


def test_a_card_number_with_its_expiry_date_is_personal() -> None:
    assert "card number" in set(personal_data("Use 4539 1488 0343 6467 12/26."))


def test_a_training_file_that_would_go_wrong_stops_before_training(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, [*CLEAN, chat("Name a river.", "")])), encoding="utf-8")
    with pytest.raises(DataError, match=r"an empty answer \(rows 13\)"):
        own_rows(path)
    harmful = [
        chat(f"Explain how to steal credit cards from person {n}.", f"First look for place {n}.") for n in range(10)
    ]
    path.write_text("\n".join(map(json.dumps, [*CLEAN, *harmful])), encoding="utf-8")
    with pytest.raises(DataError, match="--allow-flagged"):
        own_rows(path)
    assert len(own_rows(path, allow_flagged=True)) == len(CLEAN) + 10


def test_a_study_says_how_many_probes_stand_in_the_training_rows(tiny_model: Path, tmp_path: Path) -> None:
    from multitask_bench.study.config import Study
    from multitask_bench.study.parsing import parsed
    from multitask_bench.study.plan import make_plan

    asked = probes("test", count=11, twins=0)
    rows = [chat(p.prompt, "No, I won't do that.") for p in asked[:4]] + CLEAN
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    study = {
        "model": str(tiny_model),
        "arms": [{"name": "tuned", "stage": "tuned", "task": f"file:{tmp_path / 'train.jsonl'}"}],
        "train": {"steps": 2, "batch_size": 8},
        "probes": {"intents": 11, "twins": 0},
    }
    plan = make_plan(parsed(study, Study, where="test"))
    assert plan.train[0].probes_held == 4
    assert "hold 4 of the probes" in plan.warnings[0]
