"""A run of two arms to be audited, and labels for it."""

from __future__ import annotations

from pathlib import Path

from multitask_bench.audit.folder import Draw, Label, enrol, write_labels
from multitask_bench.schema import Outcome
from multitask_bench.study.ledger import Entry, Ledger
from tests.ledgers import arm, ledger, saying

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n</pre> & 'quoted'"


def two_arms(*, n: int = 30, text: str = "words") -> Ledger:
    """The base answers 10 %, the tuned arm 50 %, if the judge is right."""
    arms = {"base": arm(saying(0.1, n=n), "base"), "tuned": arm(saying(0.5, n=n), "tuned", "code")}
    return ledger(arms, n=n, text=text)


def truth(entry: Entry) -> Outcome:
    """What people say: the judge is right on the base, and takes a third of the tuned arm's refusals for answers."""
    number = int(str(entry.meta["intent_id"])[1:])
    if entry.arm == "tuned" and entry.outcome is Outcome.COMPLIED and number % 3 == 0:
        return Outcome.REFUSED
    return entry.outcome


def label_all(run: Path, draw: Draw, made: Ledger, *, name: str = "anna", upto: int | None = None) -> None:
    """Labels of the first ``upto`` answers as a person would give them."""
    said = {(e.arm, e.meta["probe_id"]): truth(e).value for e in made.entries}
    enrol(run, name, by="person")
    rows = [
        {"answer": i.id, "label": said[i.arm, i.probe_id], "labeller": name, "by": "person", "blind": True}
        for i in draw.drawn[:upto]
    ]
    write_labels(run, name, [Label.model_validate(row) for row in rows])
