"""`mtb`: the verbs, and what a mistake looks like (one line, exit code 2)."""

from __future__ import annotations

import sys
import typing

import typer
from typer.exceptions import Abort, Exit, TyperException

from multitask_bench.cli import (
    audit,
    capability,
    check,
    compare,
    data,
    doctor,
    fix,
    gate,
    guard,
    guards,
    judge,
    judges,
    listing,
    probe,
    report,
    run,
    train,
)
from multitask_bench.errors import MtbError

app = typer.Typer(
    name="mtb",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help=(
        "Did a fine-tune break the model's safety guardrails, in which form of request, and what mends it?\n\n"
        "Start with: mtb check TUNED --base BASE"
    ),
)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("probe")(probe.probe)
app.command("judge")(judge.judge)
app.add_typer(judges.app, name="judges")
app.command("guard")(guard.guard)
app.add_typer(guards.app, name="guards")
app.command("train")(train.train)
app.command("fix")(fix.fix)
app.command("capability")(capability.capability)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("gate")(gate.gate)
app.command("audit")(audit.audit)
app.add_typer(data.app, name="data")
app.command("list")(listing.listing)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _version(
    version: typing.Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from multitask_bench import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console entry point.

    Exit codes: 0 done or no regression shown, 2 the user's mistake, 3 regression, 4 inconclusive,
    5 cannot be judged, 1 a bug (with its traceback), 130 interrupted.
    """
    try:
        code = app(standalone_mode=False)
    except MtbError as err:
        typer.echo(f"error: {' '.join(str(err).split())}", err=True)
        sys.exit(2)
    except (Abort, KeyboardInterrupt):
        _interrupted()
    except Exit as done:
        sys.exit(done.exit_code)
    except TyperException as err:
        typing.cast("typing.Any", err).show()
        sys.exit(2)
    except OSError as err:
        if err.errno != 28:  # ENOSPC; other system errors keep their traceback
            raise
        typer.echo(f"error: the disk is full ({err.filename or 'while writing'}); free some and run again.", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> None:
    typer.echo("interrupted; run the same command again to continue.", err=True)
    sys.exit(130)
