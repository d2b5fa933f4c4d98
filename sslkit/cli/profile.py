"""`sslkit profile`: what a network costs here."""

from __future__ import annotations

from typing import Annotated

import typer

from sslkit.cli.evaluate import ModelArgument
from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: `sslkit profile resnet18 --size 224 --batch 8`")(profile)


def profile(
    model: ModelArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Changes of the protocol, e.g. mode=finetune, or of the backbone, backbone.NAME.KEY=value.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="A plugin's head to put on it (`sslkit plugins list`); default: the backbone alone."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol of the head, a name or YAML file; default: the head's own.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Side in pixels, or HEIGHTxWIDTH; default: the protocol's, or the model's own."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Frames of a clip; default: the protocol's, or those of the run."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples of a pass; default: 1, with --train the protocol's.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of the head; default: those of its own example.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: times both first, as a training does.")
    ] = "auto",
    train: Annotated[bool, typer.Option("--train", help="Forward, backward and step.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Frame by frame, as a causal video network sees them live.")
    ] = False,
    passes: Annotated[int, typer.Option(min=1, help="Timed passes.")] = 20,
    json: Json = False,
) -> None:
    """Measure time, memory, multiply-adds and energy of a backbone, alone or under a head; no data needed."""
    from sslkit.runs.profile import profile as run

    found = run(
        model,
        head=head,
        protocol=protocol,
        settings=settings or [],
        size=None if size is None else _size(size),
        frames=frames,
        batch=batch,
        classes=classes,
        precision=precision,
        train=train,
        stream=stream,
        passes=passes,
    )
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(found.to_text())


def _size(text: str) -> tuple[int, int]:
    """224 or 368x496 as (height, width)."""
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and int(side) > 0 for side in sides):
        raise typer.BadParameter(f"--size {text}: give a side such as 224, or HEIGHTxWIDTH such as 368x496")
    return int(sides[0]), int(sides[-1])
