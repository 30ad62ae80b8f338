"""`cope-proxy prompt-hash`: the hash by which the config knows a system prompt."""

from typing import TextIO

import click

from proxy.cascade.detection import prompt_hash


@click.command("prompt-hash")
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
def prompt_hash_command(file: TextIO) -> None:
    """Print the hash of the system prompt in FILE, for cascade.kinds. Without FILE it is read from stdin."""
    click.echo(prompt_hash(file.read()))
