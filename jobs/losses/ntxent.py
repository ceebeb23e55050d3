"""NT-Xent over the global batch. B pairs of this rank, G pairs of all ranks, E embedding."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from jobs.losses.gather import gather_rows, own_rank, row_counts


def nt_xent(
    a_BE: Tensor, b_BE: Tensor, temperature: float, shape_ids_B: Tensor | None = None, counts: list[int] | None = None
) -> Tensor:
    """NT-Xent of pairs (a_i, b_i) (Chen et al. 2020, SimCLR, eq. 1) over all ranks' pairs: this rank's share of the mean, a scalar.

    Rows are L2-normalised; both directions count, so the global batch has 2G terms with 2G - 2 negatives each. The share is the sum of own
    rows' terms divided by 2G: shares add up to the mean, and a single process gets the mean itself, however pairs are split over ranks.
    Rows of equal `shape_ids_B` (int64 [B]) are no negatives of each other; None keeps them. `counts`: pairs of each rank, where known.
    At least float32, also under autocast. Raises ValueError when the shapes differ or the temperature is not positive.
    """
    if a_BE.shape != b_BE.shape or a_BE.dim() != 2:
        raise ValueError(f"NT-Xent pairs rows with rows, but got {list(a_BE.shape)} and {list(b_BE.shape)}")
    if not temperature > 0:
        raise ValueError(f"the temperature of NT-Xent is {temperature}: it must be above 0")
    with torch.autocast(a_BE.device.type, enabled=False):
        dtype = torch.promote_types(a_BE.dtype, torch.float32)
        a_BE, b_BE = F.normalize(a_BE.to(dtype), dim=1), F.normalize(b_BE.to(dtype), dim=1)
        pairs = len(a_BE)
        counts = row_counts(pairs, a_BE.device) if counts is None else counts
        all_pairs = sum(counts)
        pairs_G2E = gather_rows(torch.cat([a_BE, b_BE], 1), counts)  # one collective for both
        candidates_2GE = torch.cat(pairs_G2E.chunk(2, 1))
        logits_2B2G = torch.cat([a_BE, b_BE]) @ candidates_2GE.t() / temperature

        own_B = torch.arange(pairs, device=a_BE.device) + sum(counts[: own_rank()])
        itself_2B, positive_2B = torch.cat([own_B, own_B + all_pairs]), torch.cat([own_B + all_pairs, own_B])
        if shape_ids_B is None:
            excluded_2B2G = torch.zeros_like(logits_2B2G, dtype=torch.bool)
        else:
            ids_G = gather_rows(shape_ids_B, counts)
            excluded_2B2G = (shape_ids_B[:, None] == ids_G).repeat(2, 2)
        excluded_2B2G.scatter_(1, itself_2B[:, None], True).scatter_(1, positive_2B[:, None], False)
        logits_2B2G = logits_2B2G.masked_fill(excluded_2B2G, -torch.inf)
        return F.cross_entropy(logits_2B2G, positive_2B, reduction="sum") / (2 * all_pairs)
