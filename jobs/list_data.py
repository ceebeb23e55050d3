"""The prepared datasets that lie in folders, a line each: `python -m jobs.list_data DIR... [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.config.places import Place, Uri, place_of
from jobs.data import stores
from jobs.data.format import MANIFEST, read_manifest

COLUMNS = ("folder", "name", "kind", "variant", "train", "val", "test", "points", "views", "parts", "rejects", "size", "digest")
RIGHT = frozenset({"train", "val", "test", "points", "views", "parts", "rejects", "size"})


def prepared_in(folders: Sequence[Place]) -> list[dict[str, Any]]:
    """What stands in each of `folders`, or in the folders right below it: facts of a prepared dataset, or why it cannot be read."""
    found: dict[Place, dict[str, Any]] = {}
    for folder in folders:
        try:
            places = [folder] if stores.is_file(folder / MANIFEST) else _below(folder)
        except ValueError as error:  # a store that does not answer hides no other
            found[folder] = {"folder": str(folder), "error": str(error)}
            continue
        found |= {one: _facts(one) for one in places if one not in found}
    return list(found.values())


def _below(folder: Place) -> list[Place]:
    if isinstance(folder, Uri):
        return [folder / name for name in stores.folders(folder) if stores.is_file(folder / name / MANIFEST)]
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def _facts(folder: Place) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder)
        counts = {split: manifest["splits"].get(split, {}).get("count", 0) for split in ("train", "val", "test")}
        size = sum(stores.sizes(folder).values())
    except (ValueError, OSError) as error:
        return {"folder": str(folder), "error": str(error)}
    kept = ("name", "kind", "variant", "points", "channels", "views", "rejects", "digest")
    return {
        "folder": str(folder),
        **{key: manifest[key] for key in kept},
        "splits": counts,
        "categories": len(manifest["categories"]),
        "parts": len(manifest["part_names"]),
        "bytes": size,
    }


def _lines(found: list[dict[str, Any]]) -> list[str]:
    rows = [dict(zip(COLUMNS, COLUMNS, strict=True))]
    for one in (one for one in found if "error" not in one):
        shown = {**one, **one["splits"], "size": _size(one["bytes"]), "digest": one["digest"][:12]}
        rows.append({column: str(shown[column] if shown[column] is not None else "") for column in COLUMNS})
    widths = {column: max(len(row[column]) for row in rows) for column in COLUMNS}
    lines = [
        "  ".join((str.rjust if column in RIGHT else str.ljust)(row[column], widths[column]) for column in COLUMNS).rstrip() for row in rows
    ]
    return [*(lines if len(lines) > 1 else []), *(f"{one['folder']}: {one['error']}" for one in found if "error" in one)]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", help="folders of prepared datasets, or such datasets")
    parser.add_argument("--json", action="store_true", help="a JSON list instead of lines")
    arguments = parser.parse_args()
    try:
        folders = [place_of(folder) for folder in arguments.folders]
    except ValueError as error:
        sys.exit(f"data list: error: {error}")
    missing = [str(folder) for folder in folders if isinstance(folder, Path) and not folder.is_dir()]
    if missing:
        sys.exit(f"data list: error: there is no folder {', '.join(missing)}")
    found = prepared_in(folders)
    if arguments.json:
        print(json.dumps(found))
    else:
        nothing = f"no prepared dataset in {', '.join(map(str, arguments.folders))}: `adacrossnet data prepare` makes one"
        print("\n".join(_lines(found) or [nothing]))


if __name__ == "__main__":
    main()
