"""The `cope-proxy` command. Each group of commands has its own module."""

import errno
import io
import os
import sys

import click

from proxy import __version__
from proxy.cli.alerts import alerts
from proxy.cli.audits import audits
from proxy.cli.budgets import budgets
from proxy.cli.calibrate import calibrate_command
from proxy.cli.db import db
from proxy.cli.demo.command import demo
from proxy.cli.doctor import doctor
from proxy.cli.eval import evaluate
from proxy.cli.init import init
from proxy.cli.keys import keys
from proxy.cli.ledger import ledger
from proxy.cli.prices import prices
from proxy.cli.prompt_hash import prompt_hash_command
from proxy.cli.reconcile import reconcile
from proxy.cli.requests import requests
from proxy.cli.serve import serve
from proxy.cli.spend import spend
from proxy.errors import ConfigError


class _Root(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Report each problem of the config, and a file that cannot be used, in one line and without a traceback.

        Files that a command creates can only be read by the user who calls it.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal can show every character
        mask = os.umask(0o077)
        try:
            return super().invoke(ctx)
        except ConfigError as e:
            for problem in e.problems:
                click.echo(f"config: {problem}", err=True)
            sys.exit(2)
        except OSError as e:
            if e.errno == errno.EPIPE:
                raise
            file = "" if e.filename is None else f"{e.filename}: "
            raise click.ClickException(f"{file}{e.strerror or e}") from e
        finally:
            os.umask(mask)


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cope-proxy")
def main() -> None:
    """An OpenAI-compatible proxy that pays for the large model only when the small one is unsure."""


for command in (
    alerts,
    audits,
    budgets,
    calibrate_command,
    db,
    demo,
    doctor,
    evaluate,
    init,
    keys,
    ledger,
    prices,
    prompt_hash_command,
    reconcile,
    requests,
    serve,
    spend,
):
    main.add_command(command)
