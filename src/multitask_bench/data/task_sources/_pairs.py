"""Translation sets that are two files of lines, one a language; line n of one is line n of the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from typing_extensions import override

from multitask_bench.data.task_sources._spec import Item, Part, Place, TaskSourceSpec
from multitask_bench.errors import DataError
from multitask_bench.records import Row, read_text
from multitask_bench.schema import LANGUAGE_NAMES, Language

ENDS = (".eng", ".fra")


class LinePairs(TaskSourceSpec):
    """An English-French pair; ``parts`` names the English file first.

    A local copy is a folder with one such pair, the pair's stem, or one file of the pair.
    """

    task: ClassVar[str] = "translation"
    wordings: ClassVar[tuple[str, ...]] = (
        "Translate this text into {target}: {text}",
        "What is this in {target}?\n{text}",
        "Please put the following {source} text into {target}.\n\n{text}",
        "{text}\n\nGive the {target} translation of the text above.",
        "{source} to {target}: {text}",
        "How would one say this in {target}? {text}",
        "I need a {target} version of this: {text}",
    )
    direction: Literal["en-fr", "fr-en"] = "en-fr"
    """English to French as in the paper, or the other way."""

    @property
    def languages(self) -> tuple[Language, Language]:
        """Source and target."""
        return ("en", "fr") if self.direction == "en-fr" else ("fr", "en")

    @override
    def locate(self, path: Path) -> list[Place]:
        stem = self._stem_in(path) if path.is_dir() else str(path)
        for end in ENDS:
            stem = stem.removesuffix(end)
        places = [Place(part, Path(stem + end)) for part, end in zip(self.parts, ENDS, strict=True)]
        for place in places:
            if not place.path.is_file():
                raise DataError(f"{place.path}: no such file; '{self.name}' is {self.what_to_give()}.")
        return places

    def _stem_in(self, folder: Path) -> str:
        """The pair in a folder: the one with the set's own file name, else the only one that begins like it."""
        own = self.parts[0].file_name
        found = sorted(path for path in folder.glob(f"*{ENDS[0]}") if path.name.startswith(self.name))
        exact = [path for path in found if path.name == own]
        if len(exact or found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise DataError(
                f"{folder}: one pair of files is needed whose names begin with '{self.name}' (found: {names}); "
                f"'{self.name}' is {self.what_to_give()}."
            )
        return str((exact or found)[0])

    @override
    def what_to_give(self) -> str:
        names = " and ".join(part.file_name for part in self.parts)
        return f"{names}: give the folder, one of the two, or their name without {ENDS[0]}"

    @override
    def read(self, places: Sequence[Place]) -> list[Item | str]:
        english, french = (_lines(place.path) for place in places)
        if len(english) != len(french):
            raise DataError(
                f"{places[0].path}: {len(english)} lines, {places[1].path.name} has {len(french)}; "
                "one of the two is cut, download both again."
            )
        rows: list[Row] = [{"en": en, "fr": fr} for en, fr in zip(english, french, strict=True)]
        return [self.item(number, row, places[0]) for number, row in enumerate(rows, start=1)]

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        source, target = self.languages
        text, answer = raw[source], raw[target]
        if text and text.casefold() == answer.casefold():
            return "both sides equal"
        key = f"{number:05d}"
        prompt = self.worded(key, text=text, source=LANGUAGE_NAMES[source], target=LANGUAGE_NAMES[target])
        return Item(key, text, prompt, answer, place.part.splits)


def pair(stem: str, eng_sha256: str, fra_sha256: str) -> tuple[Part, Part]:
    """The two files of a pair."""
    return Part(stem + ENDS[0], eng_sha256), Part(stem + ENDS[1], fra_sha256)


def _lines(path: Path) -> list[str]:
    # Not splitlines(): it also cuts at characters that stand inside sentences, such as U+2028.
    lines = [line.strip() for line in read_text(path).split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


OPUS_MT_TESTSETS = (
    "https://raw.githubusercontent.com/Helsinki-NLP/OPUS-MT-testsets/"
    "ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180/testsets/eng-fra/"
)
