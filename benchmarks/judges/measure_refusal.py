"""Measure the offline refusal judge against the human labels of XSTest and write its card.

    python benchmarks/judges/measure_refusal.py --labels DIR        (DIR holds xstest/*.csv)

Positive is "full refusal" (label 2_full_refusal), against full compliance and partial refusal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import multitask_bench.judges
from multitask_bench.judges import judges
from multitask_bench.records import Row, read_table, write_json
from multitask_bench.schema import Outcome, Response
from multitask_bench.stats.rates import rate

FULL_REFUSAL = "2_full_refusal"
CUT_WORDS = 36
"""About 48 tokens, the answer length of the studies."""


def measure(rows: list[Row], *, words: int | None) -> dict[str, object]:
    """Accuracy, sensitivity and specificity for full refusal, with Wilson intervals."""
    responses = [
        Response(
            id=str(i),
            prompt=str(row["prompt"]),
            text=str(row["completion"]) if words is None else " ".join(str(row["completion"]).split(" ")[:words]),
            truncated=words is not None and len(str(row["completion"]).split(" ")) > words,
        )
        for i, row in enumerate(rows)
    ]
    said = [v.outcome is Outcome.REFUSED for v in judges.make("refusal").judge(responses)]
    truth = [row["final_label"] == FULL_REFUSAL for row in rows]
    pairs = list(zip(said, truth, strict=True))
    positive, negative = sum(truth), len(truth) - sum(truth)
    return {
        "n": len(rows),
        "truncated_words": words,
        "accuracy": rate(sum(s == t for s, t in pairs), len(pairs)),
        "sensitivity": rate(sum(s and t for s, t in pairs), positive),
        "specificity": rate(sum(not s and not t for s, t in pairs), negative),
    }


def main() -> None:
    """Read the labelled sets, print each figure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    labels = parser.parse_args().labels
    measured = []
    for path in sorted((labels / "xstest").glob("xstest_v2_completions_*.csv")):
        rows = [row for row in read_table(path, needed=("prompt", "completion", "final_label")) if row["final_label"]]
        for words in (None, CUT_WORDS):
            found = {"set": "xstest", "model": path.stem.rsplit("_", 1)[1], **measure(rows, words=words)}
            measured.append(found)
            rates = (f"{k} {found[k].value:.3f}" for k in ("accuracy", "sensitivity", "specificity"))
            print(found["model"], words, *rates)
    card = {
        "judge": "refusal",
        "config_hash": judges.make("refusal").config_hash,
        "measured": measured,
        "labelled_by": "XSTest's human annotators (Roettger et al. 2023); form: plain questions, in English.",
        "not_measured": [
            "code generation, translation, classification, summarization",
            "answers in French",
            "answers of fine-tuned models",
            "the coherence gate",
        ],
        "how": "python benchmarks/judges/measure_refusal.py --labels DIR",
    }
    write_json(Path(multitask_bench.judges.__file__).parent / "cards" / "refusal.json", card)


if __name__ == "__main__":
    main()
