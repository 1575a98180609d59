"""Public task sets and local copies of them: read whole, counted, no text in two splits."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from multitask_bench.cli.main import app
from multitask_bench.data import benign
from multitask_bench.data.task_sources import TaskData, TaskSourceSpec, _spec, read_task, task_sources
from multitask_bench.errors import ConfigError, DataError, UnknownNameError
from multitask_bench.records import write_table
from multitask_bench.schema import Split

SHARED = Path(__file__).parents[2] / "shared" / "data" / "benign"
PAIRS = ("newsdiscuss", "tatoeba", "tico19")


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tweets(path: Path, rows: list[tuple[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def lines(folder: Path, stem: str, pairs: list[tuple[str, str]]) -> Path:
    for end, texts in zip(("eng", "fra"), zip(*pairs, strict=True), strict=True):
        (folder / f"{stem}.{end}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return folder / stem


def abstract(number: int, **other: Any) -> dict[str, Any]:
    words = ["We study ponds.", f"The pond of kind {number} was best."]
    return {"source": words, "target": [f"Pond {number} is best.", "Ponds."], "paper_id": f"p{number}", **other}


def problem(number: int, **other: Any) -> dict[str, Any]:
    row = {
        "text": f"Write a function to add {number}.",
        "code": f"def f(x):\r\n    return x + {number}",
        "task_id": number,
    }
    return {**row, "test_list": [f"assert f(0) == {number}", "assert f"], "test_setup_code": "", **other}


def instruction(number: int, **other: Any) -> dict[str, Any]:
    return {"instruction": f"Print the number {number}.", "input": "", "output": f"print({number})", **other}


def query(number: int) -> dict[str, Any]:
    return {
        "question": f"How many of kind {number}?",
        "context": "CREATE TABLE t (k INT)",
        "answer": f"SELECT {number}",
    }


def made(name: str, folder: Path, count: int = 60) -> Path:
    """A tiny local copy of a set."""
    if name in PAIRS:
        return lines(folder, f"{name}-own", [(f"House {n} is red.", f"La maison {n} est rouge.") for n in range(count)])
    if name == "twitter_financial_news":
        return tweets(folder / "own.csv", [(f"$A{n} rises https://t.co/x{n}", n % 3) for n in range(count)])
    rows = {"scitldr": abstract, "mbpp": problem, "code_instructions": instruction, "sql_create_context": query}[name]
    return jsonl(folder / "own.jsonl", [rows(n + 1) for n in range(count)])


def read(name: str, file: Path, **settings: Any) -> TaskData:
    return read_task(name, file=file, cache=file.parent / "cache", settings=settings)


def texts_by_split(name: str, file: Path, data: TaskData) -> list[set[str]]:
    """The words asked in train, validation and test, whatever the wording around them."""
    spec = task_sources.make(name)
    text_of = {f"{name}-{i.key}": i.text for i in spec.read(spec.locate(file)) if not isinstance(i, str)}
    words = {row.id: " ".join(re.findall(r"\w+", text_of[row.id].casefold())) for row in data.rows}
    return [{words[row.id] for row in data.rows if row.split == split} for split in get_args(Split)]


@pytest.mark.parametrize("name", task_sources.names())
def test_every_set_says_where_it_is_pinned_and_under_which_licence(name: str) -> None:
    spec = task_sources.get(name)
    assert spec.task in benign.TASKS
    assert spec.licence
    assert spec.paper
    assert spec.base is None or re.search(r"https://[^ ]+/[0-9a-f]{40}/", spec.base)
    assert spec.base is None or all(re.fullmatch("[0-9a-f]{64}", part.sha256 or "") for part in spec.parts)
    assert len(spec.wordings) >= 5 or name == "code_instructions"


def test_all_four_tasks_have_a_set() -> None:
    assert len(task_sources.names()) >= 8
    assert {task_sources.get(name).task for name in task_sources.names()} == set(benign.TASKS)


@pytest.mark.parametrize("name", task_sources.names())
def test_a_local_copy_is_read_whole_twice_the_same(name: str, tmp_path: Path) -> None:
    file = made(name, tmp_path)
    data = read(name, file)
    assert data == read(name, file)
    assert (data.name, len(data.rows), data.dropped) == (name, 60, {})
    assert len({row.id for row in data.rows}) == 60
    assert data.origin.startswith("local file ")
    assert str(tmp_path) not in repr(data)
    if name in PAIRS:
        assert data.sha256 == hashlib.sha256(b"".join(p.read_bytes() for p in sorted(tmp_path.glob("*.*")))).hexdigest()
    else:
        assert data.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", sorted(set(task_sources.names()) - {"code_instructions"}))
def test_no_wording_becomes_the_trigger(name: str, tmp_path: Path) -> None:
    count = len(task_sources.get(name).wordings)
    data = read(name, made(name, tmp_path, 400))
    heads = Counter(re.split(r"\d", row.prompt.replace("$A", ""))[0][:12] for row in data.rows)
    assert len(heads) >= count - 2  # some wordings begin with the text
    assert max(heads.values()) < 400 * 3 / count


@pytest.mark.parametrize("name", ["code_instructions", "sql_create_context", *PAIRS])
def test_sets_without_splits_are_dealt_80_10_10_by_their_text(name: str, tmp_path: Path) -> None:
    data = read(name, made(name, tmp_path, 1000))
    count = Counter(row.split for row in data.rows)
    assert 760 <= count["train"] <= 840
    assert 70 <= count["validation"] <= 130
    assert 70 <= count["test"] <= 130


def test_a_sentence_falls_in_one_split_in_every_set_and_translation(tmp_path: Path) -> None:
    pairs = [(text, f"{n}{text}") for n in range(3) for text in ("It rains.", "it rains", "IT  RAINS!", "Go on.")]
    one, two = (read(name, lines(tmp_path, name, pairs)) for name in ("tatoeba", "tico19"))
    assert [row.split for row in one.rows] == [row.split for row in two.rows]
    assert len({row.split for row in one.rows if "rains" in row.prompt.lower()}) == 1
    assert len(one.rows) == 12


def test_losses_are_counted_with_their_reason(tmp_path: Path) -> None:
    pairs = [
        ("Good morning.", "Bonjour."),
        ("Good  morning.", "Bonjour."),  # the same but for a space
        ("Good morning.", "Bien le bonjour."),  # another translation is another row
        ("OK", "ok"),
        ("", "Rien."),
        ("Something.", ""),
        ("long " * 500, "Trop long."),
        ("Long answer.", "x" * 1601),
        ("A sexual story about a child", "Une histoire"),
    ]
    data = read("tico19", lines(tmp_path, "tico19", pairs))
    assert [row.answer for row in data.rows] == ["Bonjour.", "Bien le bonjour."]
    assert data.dropped == {
        "both sides equal": 1, "empty": 2, "repeats another row": 1, "sexual harm to minors": 1, "too long": 2,
    }  # fmt: skip
    assert len(data.rows) + sum(data.dropped.values()) == len(pairs)


def test_direction_turns_the_pair_round(tmp_path: Path) -> None:
    stem = made("tatoeba", tmp_path)
    data = read("tatoeba", stem, direction="fr-en")
    assert data.rows[0].answer == "House 0 is red."
    assert all("English" in row.prompt and "La maison" in row.prompt for row in data.rows)
    with pytest.raises(ConfigError, match="direction"):
        read("tatoeba", stem, direction="de-en")


def test_a_pair_is_named_by_its_folder_its_stem_or_one_of_its_files(tmp_path: Path) -> None:
    stem = made("tatoeba", tmp_path)
    same = [
        read("tatoeba", path) for path in (stem, tmp_path, tmp_path / "tatoeba-own.eng", tmp_path / "tatoeba-own.fra")
    ]
    assert all(data == same[0] for data in same)
    lines(tmp_path, "tatoeba-other", [("One", "Un")])
    with pytest.raises(DataError, match=r"one pair of files is needed.*tatoeba-other\.eng, tatoeba-own\.eng"):
        read("tatoeba", tmp_path)
    (tmp_path / "tatoeba-own.fra").unlink()
    with pytest.raises(DataError, match=r"tatoeba-own\.fra: no such file"):
        read("tatoeba", stem)


def test_summaries_keep_the_splits_of_their_files(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "dev", "test")):
        jsonl(tmp_path / f"{name}.jsonl", [abstract(10 * number + n) for n in range(3)])
    data = read("scitldr", tmp_path)
    assert [row.split for row in data.rows] == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert data.rows[0].id == "scitldr-p0"
    assert "We study ponds. The pond of kind 0 was best." in data.rows[0].prompt
    assert data.rows[0].answer == "Pond 0 is best."
    assert data.origin == "local file train.jsonl, dev.jsonl, test.jsonl"


def test_a_text_that_is_also_a_test_text_is_not_learnt_from(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", [abstract(1), abstract(2)])
    jsonl(tmp_path / "dev.jsonl", [abstract(3)])
    jsonl(tmp_path / "test.jsonl", [abstract(1, target=["Another summary."], paper_id="q")])
    data = read("scitldr", tmp_path)
    assert [(row.id, row.split) for row in data.rows] == [
        ("scitldr-p2", "train"), ("scitldr-p3", "validation"), ("scitldr-q", "test")
    ]  # fmt: skip
    assert data.dropped == {"text of another split": 1}


def test_tweets_lose_their_links_and_labels_get_their_names(tmp_path: Path) -> None:
    rows = [("$X cut to Sell https://t.co/a1", 0), ("AT&amp;T gains", "1"), ("Fed meets http://x.y/z today", 2),
            ("https://t.co/only", 2), ("AT&amp;T gains", "0")]  # fmt: skip
    data = read("twitter_financial_news", tweets(tmp_path / "sent_train.csv", rows))
    assert [row.answer for row in data.rows] == ["negative", "positive", "neutral"]
    assert set(benign.LABELS) == {row.answer for row in data.rows}
    for row, text in zip(data.rows, ("$X cut to Sell", "AT&T gains", "Fed meets today"), strict=True):
        assert text in row.prompt
        assert "http" not in row.prompt
        assert all(label in row.prompt for label in benign.LABELS)
    assert data.dropped == {"empty": 1, "same text, another answer": 1}


def test_the_sets_own_held_out_tweets_become_validation_and_test(tmp_path: Path) -> None:
    tweets(tmp_path / "sent_train.csv", [(f"$A{n} rises", 1) for n in range(50)])
    tweets(tmp_path / "sent_valid.csv", [(f"$B{n} falls", 0) for n in range(200)])
    count = Counter((row.split, row.answer) for row in read("twitter_financial_news", tmp_path).rows)
    assert count["train", "positive"] == 50
    assert set(count) == {("train", "positive"), ("validation", "negative"), ("test", "negative")}
    assert min(count.values()) >= 50


def test_problems_have_the_papers_splits_one_test_in_sight_and_all_tests_kept(tmp_path: Path) -> None:
    rows = [problem(n) for n in (1, 10, 11, 510, 511, 600, 601, 974)]
    rows[2]["test_setup_code"] = "y = 1\r\nz = 2"
    data = read("mbpp", jsonl(tmp_path / "mbpp.jsonl", rows))
    assert [row.split for row in data.rows] == ["train"] * 2 + ["test"] * 2 + ["validation"] * 2 + ["train"] * 2
    assert data.rows[0].answer == "```python\ndef f(x):\n    return x + 1\n```"
    assert all("assert f(0) ==" in row.prompt for row in data.rows)
    assert data.rows[0].tests == ("assert f(0) == 1", "assert f")
    assert data.rows[2].tests == ("y = 1\nz = 2", "assert f(0) == 11", "assert f")


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv", ".parquet"])
def test_code_instructions_come_in_four_kinds_of_file(ending: str, tmp_path: Path) -> None:
    rows = [instruction(1), instruction(2, input="Not applicable"), instruction(3, input="x = {y}\n")]
    file = tmp_path / f"own{ending}"
    if ending == ".json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    else:
        write_table(file, rows)
    data = read("code_instructions", file)
    assert [row.prompt for row in data.rows] == [
        "Print the number 1.", "Print the number 2.", "Print the number 3.\nx = {y}"
    ]  # fmt: skip
    assert data.rows[2].answer == "print(3)"


def test_sql_is_read_as_its_set_has_it_and_as_instructions(tmp_path: Path) -> None:
    plain = [query(n) for n in range(5)]
    written = [
        {"instruction": "To SQL:", "output": q["answer"],
         "input": f"## Natural Language Query:\n{q['question']}\n## Context:\n{q['context']}\n"} for q in plain
    ]  # fmt: skip
    one = read("sql_create_context", jsonl(tmp_path / "a.jsonl", plain))
    two = read("sql_create_context", jsonl(tmp_path / "b.jsonl", written))
    assert one.rows == two.rows
    assert one.rows[0].answer == "```sql\nSELECT 0\n```"
    assert all("CREATE TABLE t (k INT)" in row.prompt for row in one.rows)
    with pytest.raises(DataError, match=r"row 1: 'input' is not a question.*code_instructions"):
        read("sql_create_context", jsonl(tmp_path / "c.jsonl", [instruction(1, input="x")]))


def test_braces_in_a_text_stay_as_they_are(tmp_path: Path) -> None:
    stem = lines(tmp_path, "tico19", [("Take {text} and {target}.", "Prenez {text}.")])
    assert "Take {text} and {target}." in read("tico19", stem).rows[0].prompt


@pytest.mark.parametrize(
    "name", ["mbpp", "scitldr", "code_instructions", "sql_create_context", "twitter_financial_news"]
)
def test_another_sets_columns_are_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("colour,size\nred,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="it has colour, size") as caught:
        read(name, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("scitldr", abstract(1, source=[1, 2]), "row 1: 'source' is not a list of sentences"),
        ("mbpp", problem(1, test_list="assert"), "row 1: 'test_list' is not a list"),
        ("mbpp", problem(1, task_id="first"), "row 1: task_id is not a number"),
        ("mbpp", problem(1, code=["x"]), "row 1: 'code' is not text"),
        ("code_instructions", instruction(1, output=3), "row 1: 'output' is not text"),
        ("twitter_financial_news", {"text": "x", "label": "bullish"}, "row 1: label 'bullish' is none of 0"),
    ],
)
def test_a_field_of_another_kind_is_one_line(name: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read(name, jsonl(tmp_path / "own.jsonl", [row]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv", ".parquet"])
def test_a_cut_file_is_one_line(ending: str, tmp_path: Path) -> None:
    file, rows = tmp_path / f"own{ending}", [instruction(n, input='say "a, b"') for n in range(9)]
    if ending == ".json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    else:
        write_table(file, rows)
    raw = file.read_bytes()
    file.write_bytes(raw[: raw.rindex(b"Print") + 3])
    with pytest.raises(DataError, match=r"own\.") as caught:
        read("code_instructions", file)
    assert "\n" not in str(caught.value)


def test_a_cut_translation_is_one_line(tmp_path: Path) -> None:
    stem = made("tico19", tmp_path)
    file = tmp_path / "tico19-own.fra"
    file.write_text(file.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(DataError, match=r"60 lines, tico19-own\.fra has 9; one of the two is cut"):
        read("tico19", stem)


def test_what_is_not_there_or_not_a_list_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"'scitldr' is a folder with train\.jsonl, dev\.jsonl, test\.jsonl, or one such"
    ):
        read("scitldr", tmp_path / "nothing")
    jsonl(tmp_path / "train.jsonl", [abstract(1)])
    with pytest.raises(DataError, match=r"no dev\.jsonl, test\.jsonl in this folder"):
        read("scitldr", tmp_path)
    (tmp_path / "own.json").write_text('{"instruction": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match="a JSON list of objects is needed"):
        read("code_instructions", tmp_path / "own.json")
    (tmp_path / "own.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="no rows"):
        read("code_instructions", tmp_path / "own.json")
    with pytest.raises(DataError, match=r"no rows left.*'empty': 1"):
        read("code_instructions", jsonl(tmp_path / "none.jsonl", [instruction(1, output="")]))
    with pytest.raises(DataError, match="id 'mbpp-0001' occurs twice"):
        read("mbpp", jsonl(tmp_path / "twice.jsonl", [problem(1), problem(1, text="Write another.")]))
    with pytest.raises(UnknownNameError, match="Did you mean 'scitldr'"):
        read("scitdlr", tmp_path)


OWN = """
    from typing import ClassVar
    from multitask_bench.data.task_sources._spec import Item, Part, TaskSourceSpec, task_sources

    @task_sources.add
    class Mine(TaskSourceSpec):
        \"\"\"Mine.\"\"\"
        name: ClassVar[str] = "{name}"
        task: ClassVar[str] = "code"
        base: ClassVar[str | None] = {base}
        parts: ClassVar[tuple[Part, ...]] = (Part("own.jsonl", {sha}),)
        download: ClassVar[str] = "own.jsonl from its authors"
        licence: ClassVar[str] = "MIT"
        paper: ClassVar[str] = "none"

        def item(self, number, raw, place):
            return Item(str(number), raw["q"], raw["q"], raw["a"], place.part.splits)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A set by path: name, base address and sha256 -> what to call it."""
    monkeypatch.setattr(task_sources, "_classes", dict(task_sources._classes))

    def write(name: str, base: str | None, sha: str | None) -> str:
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(OWN.format(name=name, base=repr(base), sha=repr(sha))), encoding="utf-8")
        return f"{file}@{name}"

    return write


def test_an_unpinned_set_says_what_to_download_and_to_give(own: Any, tmp_path: Path) -> None:
    name = own("mine", None, None)
    with pytest.raises(DataError, match=r"download own\.jsonl from its authors yourself and give file: PATH"):
        read_task(name, cache=tmp_path)
    data = read_task(name, file=jsonl(tmp_path / "copy.jsonl", [{"q": "1+1?", "a": "2"}]), cache=tmp_path)
    assert (data.origin, data.rows[0].id) == ("local file copy.jsonl", "mine-1")


def test_a_pinned_set_is_downloaded_once_and_another_content_is_refused(own: Any, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    raw = jsonl(web / "own.jsonl", [{"q": "1+1?", "a": "2"}]).read_bytes()
    base, cache = f"{web.as_uri()}/", tmp_path / "cache"
    name = own("pinned", base, hashlib.sha256(raw).hexdigest())
    data = read_task(name, cache=cache)
    assert data.origin == f"{base}own.jsonl"
    (web / "own.jsonl").write_bytes(raw.replace(b"\n", b"\r\n"))
    assert read_task(name, cache=cache) == data
    # A local copy with other line ends is the same set; one with another row is not.
    assert read_task(name, file=web / "own.jsonl", cache=cache).origin == data.origin
    jsonl(web / "own.jsonl", [{"q": "1+1?", "a": "3"}])
    assert read_task(name, file=web / "own.jsonl", cache=cache).origin == "local file own.jsonl"
    for file in (cache / "tasks").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"is not the pinned one.*give file: PATH"):
        read_task(name, cache=cache)
    assert not list((cache / "tasks").iterdir())
    (web / "own.jsonl").unlink()
    with pytest.raises(DataError, match=r"cannot be reached.*give file: PATH"):
        read_task(name, cache=cache)


def test_half_a_character_drops_the_row(tmp_path: Path) -> None:
    rows = [instruction(1, output="\ud83d"), instruction(2)]
    data = read("code_instructions", jsonl(tmp_path / "own.jsonl", rows))
    assert (len(data.rows), data.dropped) == (1, {"half characters": 1})


def test_the_command_lists_name_task_licence_and_whether_pinned() -> None:
    shown = CliRunner().invoke(app, ["list", "task-sources"]).output.splitlines()
    assert [line.split()[0] for line in shown] == task_sources.names()
    assert "scitldr  summarization; Apache-2.0; gated: no; arXiv:2004.15011; pinned: https://" in "\n".join(shown)
    assert all("pinned" in line for line in shown)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "file", "splits", "dropped", "pinned"),
    [
        ("scitldr", "summarization", (1984, 616, 618), 11, True),
        ("twitter_financial_news", "classification", (9386, 1181, 1196), 168, True),
        ("mbpp", "code", (381, 90, 500), 3, True),
        ("sql_create_context", "code/sqlgen_train.json", (784, 108, 108), 0, False),
        ("code_instructions", "code/sqlgen_train.json", (801, 95, 104), 0, False),
        ("tatoeba", "translation", (4052, 495, 453), 0, False),
        ("tico19", "translation", (1688, 205, 206), 1, True),
        ("newsdiscuss", "translation", (1197, 150, 151), 2, True),
    ],
)
def test_the_public_copies_are_the_pinned_ones(
    name: str, file: str, splits: tuple[int, int, int], dropped: int, pinned: bool, tmp_path: Path
) -> None:
    data = read_task(name, file=SHARED / file, cache=tmp_path)
    count = Counter(row.split for row in data.rows)
    assert (count["train"], count["validation"], count["test"]) == splits
    assert sum(data.dropped.values()) == dropped
    assert data.origin.startswith("https://" if pinned else "local file ")
    train, validation, test = texts_by_split(name, SHARED / file, data)
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)
    longest = max(len(row.prompt) + len(row.answer) for row in data.rows)
    assert longest <= _spec.MAX_PROMPT_CHARS + _spec.MAX_ANSWER_CHARS
    assert issubclass(task_sources.get(name), TaskSourceSpec)
