"""A page whose part between two marks is made by a program."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, text: str, *, begin: str, end: str) -> None:
    """Replace what stands between the marks ``begin`` and ``end`` by ``text``."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
