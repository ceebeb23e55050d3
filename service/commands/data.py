"""`data prepare`, `data list`, `data verify`, `data show`."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.module import run_module
from service.commands.options import AsJson, Server, State

Folder = Annotated[str, typer.Argument(help="A prepared dataset: the folder with manifest.json; also s3:// and gs://.", metavar="DIR")]

KINDS = "synthetic, synthetic-rooms, meshes, shapenet-render, modelnet40, modelnet10, scanobjectnn, shapenetpart or s3dis."


def prepare(
    kind: Annotated[str, typer.Argument(help=KINDS)],
    source: Annotated[str, typer.Argument(help="The raw dataset's folder; - for synthetic ones.")],
    target: Annotated[str, typer.Argument(help="Where the prepared dataset goes: a folder, s3://bucket/path or gs://bucket/path.")],
    points: Annotated[int | None, typer.Option(help="Points stored a shape.", show_default="2048")] = None,
    views: Annotated[int | None, typer.Option(help="Views a shape.", show_default="by kind")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side of a rendered view.", show_default="by kind")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every draw.", show_default="0")] = None,
    shapes: Annotated[int | None, typer.Option(help="How many shapes (synthetic).", show_default="400")] = None,
    variant: Annotated[str | None, typer.Option(help="obj_bg, obj_only or pb_t50_rs (scanobjectnn).", show_default=False)] = None,
    up: Annotated[str | None, typer.Option(help="The meshes' up axis, y or z (meshes).", show_default="y")] = None,
    turned: Annotated[bool, typer.Option("--turned", help="Turn each cloud about its up axis by an angle of its own.")] = False,
    val_share: Annotated[float | None, typer.Option(help="Validation's share, where the source has none.", show_default="0.1")] = None,
    test_share: Annotated[float | None, typer.Option(help="Test's share, where the source has no splits.", show_default="0.1")] = None,
    table: Annotated[Path | None, typer.Option(help="JSON file of categories and parts (shapenetpart).", show_default="by source")] = None,
    rooms: Annotated[int | None, typer.Option(help="How many rooms (synthetic-rooms).", show_default="24")] = None,
    test_area: Annotated[int | None, typer.Option(help="The area held out, 1 to 6 (s3dis, synthetic-rooms).", show_default="5")] = None,
    stride: Annotated[float | None, typer.Option(help="Metres between blocks (raw s3dis, synthetic-rooms).", show_default="0.5")] = None,
    shard_rows: Annotated[int | None, typer.Option(help="Shapes a shard.", show_default="64")] = None,
) -> None:
    """Turn a raw dataset into a prepared one. A second call keeps the shards that are finished."""
    from jobs.config import check_data
    from jobs.config.names import ENV_DATA_CONFIG
    from jobs.config.places import place_here

    drawn = {"points": points, "views": views, "image_size": image_size, "seed": seed, "turned": turned or None}
    shares = {"val_share": val_share, "test_share": test_share}
    of_kind = {"shapes": shapes, "variant": variant, "up": up, "rooms": rooms, "test_area": test_area, "stride": stride}
    asked = {**drawn, **shares, **of_kind, "table": str(table.expanduser().resolve()) if table else None, "shard_rows": shard_rows}
    values: dict[str, object] = {key: value for key, value in asked.items() if value is not None}
    values |= {"kind": kind, "target": str(place_here(target))}
    if kind.startswith("synthetic") and source != "-":
        raise ValueError(f"SOURCE: the kind {kind} is made, not read from {source}: write - there")
    folder = Path(source).expanduser().resolve()
    if source != "-":
        values["source"] = str(folder)
    section = check_data(values, "data prepare")
    if source != "-" and not folder.is_dir():
        raise ValueError(f"SOURCE: there is no folder {folder}; name the one that holds the {kind} dataset")
    run_module("prepare", env={ENV_DATA_CONFIG: section.model_dump_json()})


def list_prepared(
    folders: Annotated[
        list[str] | None, typer.Argument(help="Folders that hold prepared datasets.", metavar="DIR...", show_default="runs/storage/data")
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    state: State = None,
) -> None:
    """List prepared datasets: kind, splits, points, size, digest."""
    if server is not None:
        _list_there(server, as_json)
        return
    from jobs.config.places import place_here
    from service.home import Home

    own = Home.find(state).path / "storage" / "data"
    if not folders and not own.is_dir():
        raise ValueError(f"there is no {own} yet: name the folder that holds your prepared datasets (`adacrossnet data list DIR`)")
    run_module("list_data", *(str(place_here(folder)) for folder in folders or [str(own)]), *(["--json"] if as_json else []))


def _list_there(server: str, as_json: bool) -> None:
    import json

    from rich.table import Table

    from service.client import Remote
    from service.display import wide_console

    rows = Remote(server).get("/v1/datasets")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("folder", "name", "kind", "train", "val", "test", "points", "digest"):
        table.add_column(column)
    for row in rows:
        if "error" in row:
            table.add_row(row["folder"], row["error"])
            continue
        splits = (str(row["splits"][split]) for split in ("train", "val", "test"))
        table.add_row(row["folder"], row["name"], row["kind"], *splits, str(row["points"]), row["digest"][:12])
    wide_console().print(table, highlight=False)


def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check a prepared dataset: checksums, counts, finite values, views that decode. Exit status 1 with faults."""
    from jobs.config.places import place_here

    run_module("verify", str(place_here(folder)), *(["--json"] if as_json else []))


def show(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Argument(help="The picture, or OUT.html to turn clouds in a browser; else DIR/contact-sheet.png.", metavar="OUT.png"),
    ] = None,
    shapes: Annotated[int, typer.Option(help="How many shapes.", min=1, max=120)] = 12,
) -> None:
    """Draw a contact sheet: for some shapes the cloud and its views; or, with OUT.html, clouds to turn."""
    from jobs.config.places import place_here

    dataset = place_here(folder)
    if out is None and not isinstance(dataset, Path):
        raise ValueError(f"{dataset} takes no picture: name a file on this machine (`adacrossnet data show {dataset} OUT.png`)")
    picture = (out or Path(folder) / "contact-sheet.png").resolve()
    run_module("show", str(dataset), str(picture), "--shapes", str(shapes))
