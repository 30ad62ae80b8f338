"""`cope-proxy init`: write the example config."""

from importlib import resources
from pathlib import Path

import click


def example_config() -> str:
    """Return the example config from the wheel or the repository."""
    packed = resources.files("proxy").joinpath("_config.example.toml")
    if packed.is_file():
        return packed.read_text()
    return (Path(__file__).parents[2] / "config.example.toml").read_text()


@click.command()
@click.argument("path", default="cope.toml", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(path: Path, force: bool) -> None:
    """Write a complete, commented config."""
    if path.exists() and not force:
        raise click.ClickException(f"{path} exists; --force replaces it")
    path.write_text(example_config())
    click.echo(f"wrote {path}; next: `cope-proxy doctor`, then `cope-proxy serve`")
