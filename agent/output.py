"""How every command prints JSON: indented, and whole."""

import click
import msgspec


def print_json(body: bytes) -> None:
    """Print a JSON text."""
    click.echo(msgspec.json.format(body, indent=2).decode())


def print_value(value: object) -> None:
    """Print a value as JSON."""
    print_json(msgspec.json.encode(value))
