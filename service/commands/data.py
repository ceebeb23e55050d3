"""`data prepare`, `data verify`, `data show`."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.module import run_module
from service.commands.options import AsJson

Folder = Annotated[Path, typer.Argument(help="A prepared dataset: the folder with manifest.json.", metavar="DIR")]


def prepare(
    kind: Annotated[str, typer.Argument(help="synthetic, meshes, shapenet-render, modelnet40, modelnet10 or scanobjectnn.")],
    source: Annotated[str, typer.Argument(help="The raw dataset's folder; - for synthetic.")],
    target: Annotated[Path, typer.Argument(help="Where the prepared dataset goes.")],
    points: Annotated[int | None, typer.Option(help="Points stored a shape.", show_default="2048")] = None,
    views: Annotated[int | None, typer.Option(help="Views a shape.", show_default="by kind")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side of a rendered view.", show_default="by kind")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every draw.", show_default="0")] = None,
    shapes: Annotated[int | None, typer.Option(help="How many shapes (synthetic).", show_default="400")] = None,
    variant: Annotated[str | None, typer.Option(help="obj_bg, obj_only or pb_t50_rs (scanobjectnn).", show_default=False)] = None,
    up: Annotated[str | None, typer.Option(help="The meshes' up axis, y or z (meshes).", show_default="y")] = None,
    shard_rows: Annotated[int | None, typer.Option(help="Shapes a shard.", show_default="64")] = None,
) -> None:
    """Turn a raw dataset into a prepared one. A second call keeps the shards that are finished."""
    from jobs.config import check_data
    from jobs.config.names import ENV_DATA_CONFIG

    drawn = {"points": points, "views": views, "image_size": image_size, "seed": seed}
    asked = {**drawn, "shapes": shapes, "variant": variant, "up": up, "shard_rows": shard_rows}
    values: dict[str, object] = {key: value for key, value in asked.items() if value is not None}
    values |= {"kind": kind, "target": str(target.expanduser().resolve())}
    if kind == "synthetic" and source != "-":
        raise ValueError(f"SOURCE: synthetic shapes are made, not read from {source}: write - there")
    folder = Path(source).expanduser().resolve()
    if source != "-":
        values["source"] = str(folder)
    section = check_data(values, "data prepare")
    if source != "-" and not folder.is_dir():
        raise ValueError(f"SOURCE: there is no folder {folder}; name the one that holds the {kind} dataset")
    run_module("prepare", env={ENV_DATA_CONFIG: section.model_dump_json()})


def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check a prepared dataset: checksums, counts, finite values, views that decode. Exit status 1 with faults."""
    run_module("verify", str(folder.resolve()), *(["--json"] if as_json else []))


def show(
    folder: Folder,
    out: Annotated[Path | None, typer.Argument(help="The picture; else DIR/contact-sheet.png.", metavar="OUT.png")] = None,
    shapes: Annotated[int, typer.Option(help="How many shapes.", min=1, max=120)] = 12,
) -> None:
    """Draw a contact sheet: for some shapes the cloud and its views."""
    picture = (out or folder / "contact-sheet.png").resolve()
    run_module("show", str(folder.resolve()), str(picture), "--shapes", str(shapes))
