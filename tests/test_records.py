"""Files in, rows out: odd encodings are read, bad files are named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.errors import DataError
from multitask_bench.records import digest, read_table, read_text, whole_folder, write_table, write_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_odd_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("prompt é".encode(encoding))
    assert read_text(path) == "prompt é"


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"  \n", "empty"), (b"\x00\x01\x02ab", "binary")])
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(path)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,response\na,b\n")
    with pytest.raises(DataError, match="no column 'prompt'; it has question, response"):
        read_table(path, needed=("prompt",))


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n,\"'"), min_size=1, max_size=30)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@given(rows=st.lists(st.fixed_dictionaries({"prompt": TEXT, "x": TEXT}), min_size=1, max_size=5))
def test_rows_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("t") / f"a{suffix}"
    write_table(path, rows)
    assert read_table(path) == rows


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def half() -> None:
        with whole_folder(tmp_path / "out") as part:
            (part / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(tmp_path.iterdir()) == []


def test_a_digest_ignores_key_order_and_changes_with_a_value() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
