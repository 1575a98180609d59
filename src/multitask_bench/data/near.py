"""Exact and near duplicates: normalised words, shared word n-grams, MinHash (datasketch).

Two questions are told apart. *Contamination*: does a long training row contain a test prompt, or
nearly? That is containment, counted exactly over an index of the test set, while the training file
streams by. *Repetition*: are two rows of one set nearly the same? That is Jaccard similarity, by
MinHash with a locality-sensitive index (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

GRAM = 4
"""Words a gram when containment is counted; a shorter text is one gram of its own."""
NEAR = 0.8
"""Share of a test text's grams from which a row counts as nearly containing it."""
JACCARD = 0.7
PERMUTATIONS = 128
SHINGLE = 3
"""Words a shingle for MinHash: texts here are sentences, not pages."""

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """Lower-case words without accents' variants and punctuation: what "exact" is meant up to."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))


def _grams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    if len(found) <= size:
        return [tuple(found)] if found else []
    return [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]


class Overlap(NamedTuple):
    """A training row that holds a test text: wholly (``exact``) or for the share given."""

    test: int
    train: int
    exact: bool
    share: float


class ContainmentIndex:
    """An index over the texts of a test set, held against training rows one at a time."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = [words(text) for text in texts]
        self._joined = [f" {' '.join(found)} " for found in self._words]
        self._count = [len(set(_grams(found, GRAM))) for found in self._words]
        self._by_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        # Texts shorter than a gram are looked up at their own length.
        self._sizes = sorted({min(GRAM, len(found)) for found in self._words if found})
        for number, found in enumerate(self._words):
            for gram in set(_grams(found, GRAM)):
                self._by_gram[gram].append(number)

    def find(self, text: str, *, train: int) -> Iterator[Overlap]:
        """Every test text that the training text holds, wholly or nearly."""
        found = words(text)
        joined = f" {' '.join(found)} "
        hits: Counter[int] = Counter()
        for size in self._sizes:
            grams = {tuple(found[i : i + size]) for i in range(len(found) - size + 1)}
            for gram in grams & self._by_gram.keys():
                hits.update(n for n in self._by_gram[gram] if len(gram) == min(GRAM, len(self._words[n])))
        for number, count in sorted(hits.items()):
            share = count / self._count[number]
            if share >= NEAR:
                yield Overlap(number, train, self._joined[number] in joined, share)


def near_duplicates(texts: Sequence[str], *, jaccard: float = JACCARD) -> list[tuple[int, int, float]]:
    """For each text that nearly repeats an earlier one: (earlier, it, estimated Jaccard).

    A text of fewer than ``SHINGLE`` words is compared as a whole.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=jaccard, num_perm=PERMUTATIONS)
    hashes: list[MinHash] = []
    pairs = []
    for number, text in enumerate(texts):
        made = MinHash(num_perm=PERMUTATIONS, seed=1)
        made.update_batch([" ".join(gram).encode() for gram in set(_grams(words(text), SHINGLE))])
        hashes.append(made)
        alike = [(n, float(made.jaccard(hashes[n]))) for n in sorted(index.query(made))]
        found = next(((n, share) for n, share in alike if share >= jaccard), None)
        if found is None:
            index.insert(number, made)  # a near duplicate stands for nothing new: a long series costs no square
        else:
            pairs.append((found[0], number, found[1]))
    return pairs


def first_words(texts: Iterable[str], count: int = 5) -> Counter[str]:
    """How many texts begin with the same ``count`` words."""
    return Counter(" ".join(words(text)[:count]) for text in texts)


def gzip_ratio(texts: Iterable[str]) -> float:
    """Compressed size over size of the texts, one a line: lower means more of the same."""
    import gzip

    raw = "\n".join(texts).encode()
    return len(gzip.compress(raw, compresslevel=9, mtime=0)) / len(raw) if raw else 0.0
