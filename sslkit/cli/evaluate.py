"""`sslkit evaluate`: did pretraining help?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.output import Json, print_json

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A run folder, the name of a network, or random:NAME for one untrained."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit evaluate runs/first --data labelled/ --head linear`")(evaluate)


def evaluate(
    model: ModelArgument,
    data: Annotated[
        str, typer.Option(help="Data to train or fit on: labels, boxes, masks, as the head asks.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes of the protocol, e.g. training.steps=500 mode=finetune."
        ),
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Data of the same kind to score on; default: its held-out part.")
    ] = None,
    transfer_to: Annotated[
        str | None,
        typer.Option(help="Data of another domain: trained heads are judged on it too, with the gap."),
    ] = None,
    head: Annotated[
        str, typer.Option(help="A probe (knn, linear) or a plugin's head (`sslkit plugins list`).")
    ] = "knn",
    protocol: Annotated[
        str | None, typer.Option(help="Evaluation protocol, a name or YAML file; default: the head's own.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Also measure the same backbone untrained.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; of a head also weights, predictions, pictures.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the probe or head, and of the random baseline.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of a head, seeds SEED, SEED + 1, ...")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the trainings in --out.")] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Bootstrap a detector: add its false alarms on images without objects, retrain."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a representation with a probe or a head, beside the same backbone untrained."""
    if rounds is not None:
        if test is not None or transfer_to is not None or seeds != 1 or resume:
            raise typer.BadParameter(
                "--rounds hold out a part of --data; --test, --transfer-to, --seeds, --resume do not apply"
            )
        from sslkit.runs.bootstrap_head import bootstrap_head

        found = bootstrap_head(
            model,
            data,
            head=head,
            protocol=protocol,
            settings=settings or [],
            rounds=rounds,
            out=out,
            seed=seed,
        )
        if json:
            print_json(found.to_dict())
        else:
            typer.echo(found.to_text())
        return
    from sslkit.runs.evaluate import evaluate as run

    result = run(
        model,
        data,
        test=test,
        transfer_to=transfer_to,
        head=head,
        protocol=protocol,
        settings=settings or [],
        baselines=baselines,
        out=out,
        seed=seed,
        seeds=seeds,
        resume=resume,
    )
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.to_text())
