"""Which paths a config that came over the network may name: those below the folders that the platform's people gave."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.config import Pipeline as Config
from jobs.config.places import Place, Uri


class OutsideRoots(ValueError):
    """A path that no config sent here may name."""


def check_paths(config: Config, roots: Sequence[Place], home: Path) -> None:
    """Raises OutsideRoots for the first path of a resolved config that lies below none of `roots`, symbolic links followed, or in the
    service's own folder `home` outside its `storage`.

    The folders among the roots are absolute, with their own links followed. A URI lies below roots that are URIs themselves alone.
    """
    for key, path in _paths(config):
        if ".." in str(path).split("/"):  # behind a link it leads elsewhere than it seems to
            raise OutsideRoots(f"{key} is {path}: write it without ..")
        if not isinstance(path, Uri) and below(path, home) and not below(path, home / "storage"):
            raise OutsideRoots(f"{key} is {path}: that is the service's own folder; of it, configs name {home / 'storage'} alone")
        if not any(below(path, root) for root in roots):
            named = " or ".join(str(root) for root in roots)
            raise OutsideRoots(f"{key} is {path}: configs sent to this server name paths below {named}")


def _paths(config: Config) -> Iterator[tuple[str, Place]]:
    yield "cluster.storage", config.cluster.storage
    if config.cluster.cache is not None:
        yield "cluster.cache", config.cluster.cache
    evaluations = {stage: one.data for stage, one in config.evaluation_stages.items()}
    for section, data in {"data": config.data, "probe": config.probe, **evaluations}.items():  # also those that nothing is judged on
        for field in ("source", "table", "target"):
            path = getattr(data, field, None)
            if path is not None:
                yield f"{section}.{field}", path
    if config.suite is not None and _is_path(config.suite.model):
        yield "suite.model", Path(config.suite.model)


def _is_path(model: str) -> bool:
    """Whether a suite's encoder is a file or folder, no registered version and no run."""
    return not model.startswith(("models:/", "runs:/")) and ("/" in model or model.startswith(".") or model.endswith(".pth"))


def below(path: Place, root: Place) -> bool:
    """Whether it lies there, as the path is written (it may lie on the cluster alone), and as the links of this machine lead.

    A URI has neither dots nor links.
    """
    if isinstance(path, Uri) or isinstance(root, Uri):
        return isinstance(path, Uri) and isinstance(root, Uri) and path.is_relative_to(root)
    plain = Path(os.path.normpath(path))
    return plain.is_absolute() and plain.is_relative_to(root) and Path(os.path.realpath(plain)).is_relative_to(root)
