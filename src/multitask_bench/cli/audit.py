"""`mtb audit`: people label some answers of a run, and its rates are corrected with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast, get_args

import typer

if TYPE_CHECKING:
    from multitask_bench.audit.folder import By, Draw
    from multitask_bench.study.audit import Agreed
    from multitask_bench.study.ledger import Ledger

COUNT, SEED = 50, 0
SHOWN = 20
"""Answers on which labellers part that are named; agreement.json has them all."""


class _Wish(NamedTuple):
    """What the options say of the draw; None where they do not."""

    answers: int | None
    seed: int | None
    arms: tuple[str, ...]
    fresh: bool


def audit(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    labeller: Annotated[str, typer.Option("--labeller", help="Who labels; each labeller has labels of their own.")] = (
        "first"
    ),
    by: Annotated[
        str | None, typer.Option("--by", help="person or model: who makes the labels.", show_default="person")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Answers to draw, about.", show_default=str(COUNT))
    ] = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", help="Draw from these arms only; again for more.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw.", show_default=str(SEED))] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Draw again; labels of answers drawn again are kept.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page; 0 takes a free one.")] = 0,
    export: Annotated[Path | None, typer.Option("--export", help="Write the answers to FILE.jsonl, no page.")] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Take over labels from FILE (jsonl, csv, parquet), no page.")
    ] = None,
    use: Annotated[str | None, typer.Option("--use", help="Correct with this labeller's labels, no page.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Say how far the audit is and who agrees, no page.")] = False,
) -> None:
    """Let people label about 50 answers of RUN, and correct its rates with what they say.

    Draws answers with known probabilities, doubtful verdicts more often, and serves a page on this machine
    on which they are labelled with one key each; arms and verdicts are hidden. Each label is written at
    once to RUN/audit, and the same command goes on where it stopped. When you finish or press Ctrl-C,
    results.json and report.html are written again: rates and differences of arms with at least 10 labels
    are corrected, with intervals that allow for the judge's errors; all others stay and say so.

    A second labeller gets the same answers, and agreement is computed. The labels used are those of the
    first person, unless --use names another. Nothing leaves the machine.

      mtb audit runs/quickstart

      mtb audit runs/quickstart --labeller anna

      mtb audit runs/quickstart --export answers.jsonl

      mtb audit runs/quickstart --import answers.jsonl --labeller ben --by person
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.study.audit import shown_texts
    from multitask_bench.study.folder import load_run
    from multitask_bench.study.ledger import read_logs

    ways = {"--export": export, "--import": import_, "--use": use, "--show": show or None}
    chosen = [name for name, value in ways.items() if value is not None]
    if len(chosen) > 1:
        raise ConfigError(f"{chosen[0]} and {chosen[1]}: one at a time.")
    made_by = _by(by, needed=import_ is not None)
    load_run(run)
    ledger = read_logs(run / "logs")
    draw = _draw(run, ledger, _Wish(count, seed, tuple(arm or ()), fresh), may_draw=not (show or use or import_))
    if show:
        _show(run, draw)
        return
    texts = shown_texts(draw, ledger)  # the labels must be of these logs
    if export is not None:
        from multitask_bench.study.audit import export as write

        write(export, draw, texts)
        typer.echo(f"written: {export}, {len(draw.drawn)} answers; fill in label, then give it to --import")
        return
    if import_ is not None:
        _import(run, draw, import_, labeller, made_by)
    elif use is not None:
        from multitask_bench.audit.folder import choose

        choose(run, use)
    elif _label(run, draw, texts, labeller, made_by, port):
        return  # computed already
    _say(run, draw, _recomputed(run, draw))


def _by(text: str | None, *, needed: bool) -> By:
    from multitask_bench.audit.folder import By
    from multitask_bench.errors import ConfigError

    if text is None and needed:
        raise ConfigError(
            "--import needs --by person or --by model: a label that no person made is never called human."
        )
    if text not in (None, *get_args(By)):
        raise ConfigError(f"--by {text}: person or model.")
    return cast("Literal['person', 'model']", text or "person")


def _draw(run: Path, ledger: Ledger, wish: _Wish, *, may_draw: bool) -> Draw:
    """The draw of the run, made now where there is none or ``--fresh`` asks for another."""
    from multitask_bench.audit.folder import read_draw
    from multitask_bench.errors import ConfigError
    from multitask_bench.study.audit import labels_needed, make_draw, other_verdicts
    from multitask_bench.study.folder import alone

    draw = read_draw(run)
    if draw is not None and not wish.fresh:
        for name, value, was in (("count", wish.answers, draw.count), ("seed", wish.seed, draw.seed)):
            if value not in (None, was):
                raise ConfigError(f"--{name} {value}: drawn with {name} {was} already; --fresh draws again.")
        if wish.arms and wish.arms != draw.arms:
            raise ConfigError(f"--arm: drawn from {', '.join(draw.arms)} already; --fresh draws again.")
        return draw
    if not may_draw:
        raise ConfigError(f"{run}: nothing was drawn yet; mtb audit {run} draws, or --export does without a page.")
    with alone(run):
        draw = make_draw(
            run,
            ledger,
            count=COUNT if wish.answers is None else wish.answers,
            seed=SEED if wish.seed is None else wish.seed,
            arms=wish.arms,
            others=other_verdicts(run, ledger),
        )
    parts = ", ".join(f"{part.drawn} of {part.questions} {name}" for name, part in draw.parts.items())
    typer.echo(f"drawn: {len(draw.drawn)} answers of {len(draw.arms)} arms; questions: {parts}")
    more = labels_needed(draw)
    if more is not None:
        typer.echo(
            f"note: with so few questions no rate of these {len(draw.arms)} arms gets the 10 labels that it needs; "
            f"--fresh --count {more} does, or fewer arms (--arm)"
        )
    return draw


def _label(run: Path, draw: Draw, texts: Any, labeller: str, by: By, port: int) -> bool:
    """Serve the page; False where the rates are still to be computed."""
    from multitask_bench.audit.server import serve
    from multitask_bench.audit.session import Session

    with _at_work(run, labeller):
        session = Session(run, draw, texts, labeller=labeller, by=by)

        def say(url: str) -> None:
            typer.echo(f"{session.done} of {session.total} labelled by {labeller}. Open in a browser on this machine:")
            typer.echo(f"  {url}")
            typer.echo("Ctrl-C stops; every label is kept.")

        found: dict[str, Any] = {}

        def finish() -> dict[str, Any]:
            found.update(_recomputed(run, draw))
            return found

        done = serve(session, port=port, say=say, finish=finish)
    if done:
        _say(run, draw, found)
    elif not session.changed:
        typer.echo("\nno new label; nothing was computed.")
        return True
    else:
        typer.echo("\ncomputing the rates")
    return done


@contextmanager
def _at_work(run: Path, labeller: str) -> Iterator[None]:
    """One page a labeller: two would write over each other's labels."""
    from multitask_bench.audit.folder import check_name, folder_of
    from multitask_bench.study.folder import alone

    check_name(labeller)
    folder = folder_of(run) / labeller
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        yield


def _import(run: Path, draw: Draw, file: Path, labeller: str, by: By) -> None:
    from multitask_bench.study.audit import import_labels

    with _at_work(run, labeller):
        found = import_labels(run, draw, file, labeller=labeller, by=by)
    counts = {"there already": found.known, "without a label": found.empty, "of answers not drawn": found.foreign}
    others = "".join(f", {number} {what}" for what, number in counts.items() if number)
    typer.echo(f"{found.new} labels by {labeller} ({by}) taken over{others}")


def _recomputed(run: Path, draw: Draw) -> dict[str, Any]:
    from multitask_bench.study.audit import keep_agreement, summary
    from multitask_bench.study.folder import alone, sum_up

    with alone(run):
        results = sum_up(run).results
        keep_agreement(run, draw)
    return summary(results)


def _say(run: Path, draw: Draw, found: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    head, *rows = found["rows"]
    if rows:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1))
        for name in head:
            table.add_column(name, justify="right" if name == "labels" else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(found["text"], markup=False, soft_wrap=True)
    _show(run, draw)
    console.print(f"\nreport: {run / 'report.html'}", markup=False, soft_wrap=True)


def _show(run: Path, draw: Draw) -> None:
    """Who labelled how much, whose labels are used, and how far labellers agree."""
    from multitask_bench.audit.folder import read_labellers, read_labels
    from multitask_bench.study.audit import agreed, labelled

    drawn = {item.id for item in draw.drawn}
    for one in read_labellers(run).labellers:
        count = sum(label.answer in drawn for label in read_labels(run, one.name))
        typer.echo(f"{one.name} ({one.by}): {count} of {len(drawn)} labelled")
    found = labelled(run, draw)
    if found is None:
        typer.echo("no labels yet")
        return
    typer.echo(f"used: the {len(found.labels)} labels of {found.labeller.name}")
    if found.waiting:
        typer.echo(f"note: {found.waiting} labels wait behind an answer without one; they count once it has one")
    agreement = agreed(run, draw)
    if agreement is not None:
        _show_agreement(agreement)


def _show_agreement(found: Agreed) -> None:
    from multitask_bench.study.audit import coefficient

    typer.echo(f"{found.first.name} and {found.second.name} say the same of {found.same} of {found.n} answers")
    for name, one in (("AC1", found.ac1), ("alpha", found.alpha), ("kappa", found.kappa)):
        typer.echo(f"  {name:<6} {coefficient(one)}")
    typer.echo(f"  AC1 on answered or not: {coefficient(found.answered)}")
    for item, first, second in found.parted[:SHOWN]:
        typer.echo(f"  {item.id} {item.probe_id}: {first}, {second}")
    if len(found.parted) > SHOWN:
        typer.echo(f"  and {len(found.parted) - SHOWN} more in audit/agreement.json")
