"""Paths of the machine that made a run: what may be shown to others names files and folders by their last part."""

from __future__ import annotations

import re
from typing import Any

_ABSOLUTE = re.compile(
    r"(?:(?<![\w./\\~-])|(?<=\w/))(?!//)"  # not within a relative path or a URL; in a model's name, as hf//home/me/it
    r"(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\,;:+()'\"<>|]+[/\\]+)+(?=[^\s/\\])"
)
_WHOLE = re.compile(r"(?:file:)?(?:~|[A-Za-z]:)?[/\\][^/\\\n(+]*[^\n(+]*")
"""A text that is a path and nothing else, which may hold spaces."""


def without_paths(value: Any) -> Any:
    """``value`` with the absolute paths in its texts, and in those of its lists and mappings, as their last part."""
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, dict):
        return {_short(key) if isinstance(key, str) else key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return value


def _short(text: str) -> str:
    if "/" not in text and "\\" not in text:
        return text
    if _WHOLE.fullmatch(text):
        last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
        return f"file:{last}" if text.startswith("file:") else last
    return _ABSOLUTE.sub("", text)
