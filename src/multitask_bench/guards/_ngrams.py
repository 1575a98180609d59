"""A linear model over word and character n-grams, as plain arrays: made with scikit-learn, read with numpy alone.

Words and pairs of words, and runs of three to five characters inside words, each block weighted by tf-idf and brought
to length one. The grams that carry most weight are kept and fitted again, so that the file stays small.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from multitask_bench.errors import DataError, MissingExtraError

WORD = re.compile(r"\w+")
LONGEST_CHARS = 20_000
"""Characters of a text that are read; the file of a novel must not stop a guard."""
MIN_DOCS = {"word": 3, "char": 5}
MOST_CHARS = 60_000
"""Character grams that the first fit looks at, the most frequent ones."""

Floats = npt.NDArray[np.float32]


class Grams(NamedTuple):
    """How often each gram stands in a text, by block."""

    word: Counter[str]
    char: Counter[str]


class Reading(NamedTuple):
    """What a model makes of one text."""

    score: float
    """The probability of harm, in [0, 1]."""
    words: tuple[str, ...]
    """Up to three words or pairs of words that speak most for harm."""


class Linear(NamedTuple):
    """A fitted model."""

    grams: tuple[str, ...]
    """Word grams begin with a space, character grams do not."""
    idf: Floats
    weight: Floats
    intercept: float
    threshold: float

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """A reading of each text, in order."""
        place = {gram: i for i, gram in enumerate(self.grams)}
        idf, weight = self.idf.tolist(), self.weight.tolist()
        out = []
        for text in texts:
            parts: list[tuple[float, str]] = []
            for block in grams_of(text):
                known = [(gram, place[gram], count) for gram, count in block.items() if gram in place]
                values = [(1 + math.log(count)) * idf[i] for _, i, count in known]
                length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
                parts += [(v / length * weight[i], g) for (g, i, _), v in zip(known, values, strict=True)]
            score = _sigmoid(self.intercept + math.fsum(value for value, _ in parts))
            words = sorted(((-value, gram.strip()) for value, gram in parts if value > 0 and gram[0] == " "))[:3]
            out.append(Reading(score, tuple(gram for _, gram in words)))
        return out

    def scores(self, texts: Sequence[str]) -> list[float]:
        """The probability of harm of each text, in [0, 1]."""
        return [found.score for found in self.read(texts)]

    def dump(self) -> bytes:
        """The model as an ``.npz`` file without pickled objects; equal models give equal bytes."""
        out = io.BytesIO()
        text = np.frombuffer("\n".join(self.grams).encode(), dtype=np.uint8)
        rest = np.array([self.intercept, self.threshold], dtype=np.float64)
        np.savez_compressed(out, grams=text, idf=self.idf, weight=self.weight.astype(np.float16), rest=rest)
        return out.getvalue()


def load(raw: bytes, *, where: str) -> Linear:
    """The model of `Linear.dump`.

    Raises: DataError: another file, or a damaged one.
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            grams = tuple(file["grams"].tobytes().decode().split("\n"))
            idf, weight = file["idf"].astype(np.float32), file["weight"].astype(np.float32)
            intercept, threshold = (float(x) for x in file["rest"])
    except (ValueError, KeyError, OSError, UnicodeDecodeError, EOFError) as err:
        raise DataError(f"{where}: not the weights of a linear guard; make them with mtb guards train.") from err
    except Exception as err:  # zipfile and zlib have errors of their own
        raise DataError(f"{where}: damaged; make it again with mtb guards train.") from err
    if not len(grams) == len(idf) == len(weight):
        raise DataError(f"{where}: damaged; make it again with mtb guards train.")
    return Linear(grams, idf, weight, intercept, threshold)


def grams_of(text: str) -> Grams:
    """The grams of a text, in lower case and without accents' variants (NFKC)."""
    words = WORD.findall(unicodedata.normalize("NFKC", text[:LONGEST_CHARS]).lower())
    pairs = [f" {a} {b}" for a, b in pairwise(words)]
    chars: Counter[str] = Counter()
    for word in words:
        padded = f"_{word}_"
        for size in (3, 4, 5):
            chars.update(padded[i : i + size] for i in range(len(padded) - size + 1))
    return Grams(Counter([*(f" {word}" for word in words), *pairs]), chars)


def fit(
    texts: Sequence[str], harmful: Sequence[bool], weights: Sequence[float], *, keep: int, penalty_inverse: float
) -> Linear:
    """Fit on texts, each with a label and a weight; ``keep`` grams remain. The threshold is a half.

    ``penalty_inverse`` is scikit-learn's ``C``. The same rows in the same order give the same model.
    Raises: MissingExtraError: no scikit-learn; DataError: rows of one kind only.
    """
    if len(set(harmful)) < 2:
        raise DataError("a guard learns from harmful and benign rows; these are of one kind.")
    counted = _count(texts)
    first = _frequent(counted)
    table = _table(counted, first)
    fitted = _regression(table, harmful, weights, penalty_inverse)
    # What a gram moves: its weight times its typical size.
    size = np.sqrt(np.asarray(table.multiply(table).mean(axis=0)).ravel())
    moved = np.abs(fitted.coef_[0]) * size
    order = sorted(range(len(first)), key=lambda i: (-moved[i], counted.grams[first[i]]))[:keep]
    kept = sorted((first[i] for i in order), key=counted.grams.__getitem__)
    fitted = _regression(_table(counted, kept), harmful, weights, penalty_inverse)
    return Linear(
        grams=tuple(counted.grams[i] for i in kept),
        idf=_idf(counted, kept).astype(np.float32),
        # Rounded as it is stored, so that a model is the same before and after.
        weight=fitted.coef_[0].astype(np.float16).astype(np.float32),
        intercept=float(fitted.intercept_[0]),
        threshold=0.5,
    )


class _Counted(NamedTuple):
    """The grams of all texts by number; counters of strings would take gigabytes."""

    grams: list[str]
    rows: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
    """Of each text: the numbers of its grams, and how often each stands there."""
    documents: npt.NDArray[np.int64]
    """Of each gram: the texts that hold it."""


def _count(texts: Sequence[str]) -> _Counted:
    place: dict[str, int] = {}
    rows = []
    for text in texts:
        found = Counter[str]()
        for block in grams_of(text):
            found.update(block)
        numbers = np.array([place.setdefault(gram, len(place)) for gram in found], dtype=np.int32)
        rows.append((numbers, np.array(list(found.values()), dtype=np.int32)))
    every = np.concatenate([numbers for numbers, _ in rows])
    return _Counted(list(place), rows, np.bincount(every, minlength=len(place)))


def _frequent(counted: _Counted) -> list[int]:
    """The grams that the first fit looks at, sorted by gram."""
    number = counted.documents
    words = [i for i, gram in enumerate(counted.grams) if gram[0] == " " and number[i] >= MIN_DOCS["word"]]
    chars = [i for i, gram in enumerate(counted.grams) if gram[0] != " " and number[i] >= MIN_DOCS["char"]]
    chars.sort(key=lambda i: (-number[i], counted.grams[i]))
    return sorted([*words, *chars[:MOST_CHARS]], key=counted.grams.__getitem__)


def _idf(counted: _Counted, kept: Sequence[int]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.log((1 + len(counted.rows)) / (1 + counted.documents[list(kept)])) + 1
    return found


def _table(counted: _Counted, kept: Sequence[int]) -> Any:
    """Texts x kept grams, sparse."""
    from scipy.sparse import csr_array

    column = np.full(len(counted.grams), -1, dtype=np.int64)
    column[list(kept)] = np.arange(len(kept))
    is_word = np.array([gram[0] == " " for gram in counted.grams])
    idf = _idf(counted, kept)
    values, columns, ends = [], [], [0]
    for numbers, counts in counted.rows:
        inside = column[numbers] >= 0
        place, word = column[numbers[inside]], is_word[numbers[inside]]
        row = (1 + np.log(counts[inside])) * idf[place]
        for block in (word, ~word):
            row[block] /= float(np.sqrt((row[block] ** 2).sum())) or 1.0
        order = np.argsort(place)
        values.append(row[order])
        columns.append(place[order])
        ends.append(ends[-1] + len(place))
    return csr_array((np.concatenate(values), np.concatenate(columns), ends), shape=(len(counted.rows), len(kept)))


def _regression(table: Any, harmful: Sequence[bool], weights: Iterable[float], penalty_inverse: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as err:
        raise MissingExtraError.of("training a guard", "guards") from err
    model = LogisticRegression(C=penalty_inverse, max_iter=2000, tol=1e-5)
    return model.fit(table, np.asarray(harmful, dtype=int), sample_weight=np.asarray(list(weights)))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
