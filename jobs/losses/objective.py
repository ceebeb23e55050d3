"""The intra-modal and cross-modal terms of CrossPoint, CrossNet and AdaCrossNet. B shapes of this rank, E embedding, K = 2 losses."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jobs.losses.gather import row_counts
from jobs.losses.ntxent import nt_xent

Cross = Callable[[Tensor, Tensor, Tensor, Tensor | None, float, Tensor | None, list[int]], Tensor]


def _crosspoint(
    z_1_BE: Tensor, z_2_BE: Tensor, z_rgb_BE: Tensor, z_grey_BE: Tensor | None, temperature: float, ids_B: Tensor | None, counts: list[int]
) -> Tensor:
    """The mean of both views' projections, not normalised before, against the picture (Afham et al. 2022, eq. 4)."""
    return nt_xent((z_1_BE + z_2_BE) / 2, z_rgb_BE, temperature, counts=counts)


def _crossnet_con(
    z_1_BE: Tensor, z_2_BE: Tensor, z_rgb_BE: Tensor, z_grey_BE: Tensor | None, temperature: float, ids_B: Tensor | None, counts: list[int]
) -> Tensor:
    """Both views stacked against RGB and grey stacked: (view 1, RGB) and (view 2, grey) are pairs, two rows a shape on each side."""
    assert z_grey_BE is not None
    pairs = torch.cat([z_1_BE, z_2_BE]), torch.cat([z_rgb_BE, z_grey_BE])
    return nt_xent(*pairs, temperature, None if ids_B is None else ids_B.repeat(2), counts=[2 * count for count in counts])


def _crossnet_ave(
    z_1_BE: Tensor, z_2_BE: Tensor, z_rgb_BE: Tensor, z_grey_BE: Tensor | None, temperature: float, ids_B: Tensor | None, counts: list[int]
) -> Tensor:
    """The mean of both views against RGB, plus the same mean against grey."""
    assert z_grey_BE is not None
    mean_BE = (z_1_BE + z_2_BE) / 2
    return nt_xent(mean_BE, z_rgb_BE, temperature, counts=counts) + nt_xent(mean_BE, z_grey_BE, temperature, counts=counts)


CROSS: dict[str, Cross] = {"crosspoint": _crosspoint, "crossnet-con": _crossnet_con, "crossnet-ave": _crossnet_ave}


def needs_grey(cross: str) -> bool:
    """Whether the objective called `cross` uses the grey tower."""
    _known(cross)
    return cross != "crosspoint"


def pretraining_losses(
    z_points_2BE: Tensor,
    z_rgb_BE: Tensor,
    z_grey_BE: Tensor | None,
    *,
    cross: str,
    temperature: float,
    same_sample_negatives: bool,
    ids_B: Tensor,
    counts: list[int] | None = None,
) -> Tensor:
    """(intra, cross) -> losses_K [2], this rank's shares (see nt_xent): NT-Xent of the two views, and the term named `cross`.

    `z_points_2BE` holds view 1's B rows, then view 2's; `ids_B` int64 names the shapes; without `same_sample_negatives` rows of one shape
    are no negatives of each other (only crossnet-con stacks several). `counts`: shapes of each rank; None asks them. Raises ValueError for
    an unknown `cross`, missing grey embeddings, and rows that do not pair up.
    """
    _known(cross)
    if len(z_points_2BE) != 2 * len(z_rgb_BE):
        raise ValueError(f"{len(z_points_2BE)} cloud embeddings beside {len(z_rgb_BE)} of pictures: give two views a shape")
    if needs_grey(cross) and z_grey_BE is None:
        raise ValueError(f"the objective {cross} contrasts with grey pictures, but there are no embeddings of any: build the grey tower")
    counts = row_counts(len(z_rgb_BE), z_rgb_BE.device) if counts is None else counts
    z_1_BE, z_2_BE = z_points_2BE.chunk(2)
    intra = nt_xent(z_1_BE, z_2_BE, temperature, counts=counts)
    masked = None if same_sample_negatives else ids_B
    return torch.stack([intra, CROSS[cross](z_1_BE, z_2_BE, z_rgb_BE, z_grey_BE, temperature, masked, counts)])


def _known(cross: str) -> None:
    if cross not in CROSS:
        raise ValueError(f"no cross-modal objective is called {cross!r}; there are {', '.join(sorted(CROSS))}")
