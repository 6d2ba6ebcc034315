"""All commands in the order of ``--help``, and exit codes."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

import typer

from benchmark import __version__
from benchmark.cli import making, predicting, running, sharing, showing
from benchmark.cli.words import Command
from benchmark.common.errors import UserError, nearest, printable
from benchmark.common.signals import sigterm_interrupts

INTERRUPTED = 130
SCRIPT = "dgss-benchmark"
WORDS = {
    "Value error, ": "",
    "Input should be a valid integer.*": "must be a whole number",
    "Input should be a valid number.*": "must be a number",
    "Input should be greater than or equal to": "must be at least",
    "Input should be less than or equal to": "must be at most",
}
"""Pydantic's words, as Typer repeats them, and those of this project."""
COMPLETION = {"--install-completion", "--show-completion"}
app = typer.Typer(
    name="python -m benchmark",
    help="FisherTune and its baselines under one protocol for domain generalised semantic segmentation.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    running.run,
    running.plan,
    running.tune,
    running.stability,
    showing.table,
    showing.figure,
    showing.report,
    showing.leaderboard,
    running.check,
    showing.params,
    sharing.export,
    sharing.push,
    sharing.pull,
    sharing.evaluate,
    predicting.predict,
):
    app.command(cls=Command)(command)
app.command("list", cls=Command)(showing.list_)
app.command(cls=Command)(making.pretrain)

data = typer.Typer(help="View, check, render and download data sets.", no_args_is_help=True, rich_markup_mode=None)
for part in (making.show, making.check, making.render, making.get):
    data.command(cls=Command)(part)
app.add_typer(data, name="data")

records = typer.Typer(help="Check records.", no_args_is_help=True, rich_markup_mode=None)
records.command(cls=Command)(showing.verify)
# With a single command, Typer would leave out its name.
records.callback()(lambda: None)
app.add_typer(records, name="records")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"{SCRIPT} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake ends with one line and code 2, an interrupt with code 130."""
    try:
        # Shells complete the words of a command, which `python -m benchmark` is not.
        with sigterm_interrupts():
            code = app(standalone_mode=False, prog_name=SCRIPT if COMPLETION & set(sys.argv) else None)
    except UserError as error:
        _fail(f"error: {error}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", INTERRUPTED)
    except MemoryError:
        _fail("error: out of memory", 1)
    except BrokenPipeError:  # the reader of a pipe closed it early, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # Typer's usage errors have a message and a code; anything else is a bug and keeps its traceback.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text
            _fail(error.format_message(), 2)
        _fail(f"error: {_reworded(error)} (see --help)", getattr(error, "exit_code", 2))
    if code == INTERRUPTED:  # Typer's code for an interrupt
        _fail("interrupted", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _reworded(error: Any) -> str:
    """Return the message of one of Typer's usage errors, without pydantic's words in it."""
    text = printable(error.format_message())
    if unknown := re.match(r"No such command '(.+?)'", text):
        commands = error.ctx.command.commands
        return f"{unknown[0]}: {nearest(unknown[1], commands)}"
    for theirs, ours in WORDS.items():
        text = re.sub(theirs, ours, text)
    return text


def _fail(line: str, code: int) -> None:
    print(line, file=sys.stderr)
    sys.exit(code)
