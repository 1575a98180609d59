"""Make ``judges/plausibility.json`` from benign text.

    python benchmarks/judges/build_plausibility.py --benign DIR [--intents DIR] --out FILE

DIR holds the bundled benign files (chat, classification, code, summarization, translation). Of
``--intents`` only the twins are read: they are harmless, and half of their text is French.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from multitask_bench.judges import _language as lang

TRIGRAMS = 1600
PAIRS = 2600


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON rows of a file, without a leading notice."""
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if set(row) != {"notice"}:
            yield row


def texts(benign: Path, intents: Path | None) -> Iterator[tuple[str, str]]:
    """(language, text) of everything that may be learned from."""
    french = {"target"}
    for path in sorted(benign.glob("*.jsonl")):
        for row in rows(path):
            for key, value in row.items():
                if isinstance(value, str) and key not in {"id", "code", "label", "split", "kind"}:
                    is_french = key in french or (path.stem == "translation" and key == "answer")
                    yield "fr" if is_french else "en", value
    for path in sorted(intents.glob("*.jsonl")) if intents else []:
        for row in rows(path):
            twin = row["twin"]
            for key in ("goal", "message"):
                yield from twin[key].items()
            yield "en", twin["notes"]
            yield "en", twin["answers"]["text_generation"]
            yield "en", twin["answers"]["summarization"]


def trigram_table(words: Counter[str]) -> dict[str, float]:
    """The most frequent trigrams with their log-probabilities; a word counts by the log of its frequency."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for gram in lang.trigrams(word):
            counts[gram] += 1 + math.log(n)
    total = sum(counts.values())
    return {gram: math.log(n / total) for gram, n in counts.most_common(TRIGRAMS)}


def pair_table(sequences: list[list[str]]) -> dict[str, float]:
    """Log P(a b) / P(a) P(b), smoothed, for pairs whose expected or observed count says something."""
    left: Counter[str] = Counter()
    right: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for sequence in sequences:
        for a, b in pairwise(sequence):
            left[a] += 1
            right[b] += 1
            both[a, b] += 1
    total = sum(both.values())
    scored = []
    for a in left:
        for b in right:
            expected = left[a] * right[b] / total
            seen = both[a, b]
            pmi = math.log((seen + 0.7) / (expected + 0.7))
            scored.append((abs(pmi) * max(expected, seen), f"{a} {b}", pmi))
    scored.sort(reverse=True)
    return {key: max(-3.0, min(3.0, pmi)) for _, key, pmi in scored[:PAIRS] if abs(pmi) > 0.15}


def grouped(table: dict[str, float]) -> dict[str, str]:
    """Value in tenths -> tab-joined keys: a third of the size of key -> value."""
    out: dict[int, list[str]] = {}
    for key, value in sorted(table.items()):
        out.setdefault(round(value * 10), []).append(key)
    return {str(value): "\t".join(keys) for value, keys in sorted(out.items())}


def main() -> None:
    """Read the texts, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benign", type=Path, required=True)
    parser.add_argument("--intents", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    words: dict[str, Counter[str]] = {"en": Counter(), "fr": Counter()}
    # Half of the pairs' weight to each language, though there is more English text.
    sequences: dict[str, list[list[str]]] = {"en": [], "fr": []}
    for language, text in texts(args.benign, args.intents):
        words[language].update(w for w in lang.words(text) if w[0].isalpha())
        sequences[language].append([".", *lang.classes(text), "."])
    repeat = max(1, round(sum(map(len, sequences["en"])) / max(1, sum(map(len, sequences["fr"])))))
    table = {
        "en": grouped(trigram_table(words["en"])),
        "fr": grouped(trigram_table(words["fr"])),
        "pairs": grouped(pair_table(sequences["en"] + sequences["fr"] * repeat)),
    }
    args.out.write_text(json.dumps(table, ensure_ascii=False, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
