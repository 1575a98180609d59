"""Rows on disk: JSONL, CSV and parquet, hashes, and writes that are whole or absent."""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel, ValidationError

from multitask_bench.errors import DataError

T = TypeVar("T", bound=BaseModel)
Row = dict[str, Any]

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")


def digest(value: object) -> str:
    """The sha256 (hex) of ``value`` as canonical JSON; key order does not matter."""
    return text_digest(canonical(value))


def text_digest(text: str) -> str:
    """The sha256 (hex) of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical(value: object) -> str:
    """``value`` as JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def file_digest(*paths: Path) -> str:
    """The sha256 (hex) of the contents of ``paths`` in the order given; names do not count."""
    sha = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value  # the most frequent first: a plan has millions of them
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(str(v) for v in value)
    return value


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step: readers see the old file or the new one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, raw: bytes) -> None:
    """Replace ``path`` by ``raw`` in one step: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        _readable(Path(name))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _readable(path: Path) -> None:
    """The permissions that a new file would have: temporary files are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, in one step."""
    write_text(path, json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in ``path``."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as err:
        raise DataError(f"{path}: not valid JSON (line {err.lineno}: {err.msg}).") from err


def read_text(path: Path) -> str:
    """The text of ``path``, UTF-8 (with or without BOM), UTF-16 with BOM, else Windows-1252.

    Raises: DataError: the file is missing, empty or binary.
    """
    with open_text(path) as file:
        return file.read()


def open_text(path: Path) -> TextIO:
    """``path`` open for reading in the encoding that `read_text` names; line breaks as they are.

    Raises: DataError: the file is missing, empty or binary.
    """
    check_text_file(path)
    return path.open(encoding=_encoding(path), newline="")


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            if _decodes(path, "utf-16"):
                return "utf-16"
            raise DataError(f"{path}: it begins as UTF-16 and is damaged; save it as UTF-8.")
    for name, codec in (("utf-8-sig", "utf-8"), ("cp1252", "cp1252")):
        if _decodes(path, codec):
            return name
    raise DataError(f"{path}: neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8.")


def _decodes(path: Path, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    with path.open("rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def check_text_file(path: Path, *, binary: bool = False) -> None:
    """Raises: DataError: the file is missing, empty, a folder, or (unless ``binary``) not a text."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, a file is needed.") from None
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}).") from err
    if not head.strip() and path.stat().st_size <= len(head):
        raise DataError(f"{path}: the file is empty.")
    if not binary and head[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"\0" in head:
        raise DataError(f"{path}: a binary file; a text file is needed.")


def read_jsonl(path: Path, model: type[T]) -> list[T]:
    """The rows of ``path`` as ``model``; a first row that only holds a ``notice`` is skipped.

    Raises: DataError: names the file, the line and the field at fault.
    """
    return [validated(row, model, where=f"{path} line {n}") for n, row in _json_lines(path)]


def validated(row: Row, model: type[T], *, where: str) -> T:
    """``row`` as ``model``; the error is one line that says where it stands."""
    try:
        return model.model_validate(row)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "row"
        raise DataError(f"{where}: {field}: {first['msg']}.") from err


def _json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as err:
            raise DataError(f"{path} line {number}: not valid JSON ({err.msg}).") from err
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number}: a JSON object is needed, one a line.")
        if set(row) != {"notice"}:
            yield number, row


def dump_jsonl(rows: Iterable[object]) -> str:
    """The rows as JSON lines."""
    return "".join(json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write the rows as JSON lines, in one step."""
    write_text(path, dump_jsonl(rows))


def read_table(path: Path, *, needed: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV, JSONL or parquet file, columns and order kept.

    Raises: DataError: unreadable, empty, of another kind, or without a ``needed`` column.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path}: '{path.suffix}' is not read; use {', '.join(TABLE_SUFFIXES)}.")
    if suffix == ".csv":
        rows = _read_csv(path)
    elif suffix == ".jsonl":
        rows = [row for _, row in _json_lines(path)]
    else:
        rows = _read_parquet(path)
    if not rows:
        raise DataError(f"{path}: no rows.")
    for column in needed:
        if column not in rows[0]:
            raise DataError(f"{path}: no column '{column}'; it has {', '.join(map(str, rows[0]))}.")
        for number, row in enumerate(rows, start=1):
            if column not in row:
                raise DataError(f"{path} row {number}: no '{column}'.")
    return rows


def _read_csv(path: Path) -> list[Row]:
    csv.field_size_limit(1 << 30)
    # newline="" keeps the line breaks inside quoted fields as they are.
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = next(reader, [])
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path} line {reader.line_num}: {len(cells)} cells, the header has {len(header)}; "
                    "quote fields that hold commas or line breaks."
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as err:
        raise DataError(f"{path} line {reader.line_num}: not valid CSV ({err}).") from err
    return rows


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: not a parquet file, or damaged.") from err
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows by the suffix of ``path``, in one step; every row has the same columns."""
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path}: is a folder, a file is needed.")
    if suffix == ".csv":
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer.writerow(columns)
        writer.writerows([row.get(column, "") for column in columns] for row in rows)
        write_text(path, out.getvalue())
    elif suffix == ".jsonl":
        write_jsonl(path, rows)
    elif suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            pq.write_table(pa.Table.from_pylist(list(rows)), part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    else:
        raise DataError(f"{path}: '{path.suffix}' is not written; use {', '.join(TABLE_SUFFIXES)}.")


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    part.chmod(0o755)
    try:
        yield part
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def cache_folder() -> Path:
    """Where converted models, downloads and the user's cards are: $MTB_CACHE, else in the user's cache folder."""
    own = os.environ.get("MTB_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multitask-bench"


def packaged_json(package: str, *place: str) -> Any:
    """The JSON file that a package brings at ``place``; None where it brings none."""
    try:
        text = files(package).joinpath(*place).read_text("utf-8")
    except FileNotFoundError:
        return None
    return json.loads(text)
