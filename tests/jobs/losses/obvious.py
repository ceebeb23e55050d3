"""NT-Xent written out term by term, as equation 1 of Chen et al. (2020) reads: what the fast one is compared with."""
import torch
from torch import Tensor


def nt_xent_by_terms(a_BE: Tensor, b_BE: Tensor, temperature: float, ids: list[int] | None = None) -> Tensor:
    """The mean over all 2B anchors; rows of equal id are left out of each other's sums, the positive excepted."""
    pairs = len(a_BE)
    rows = [row / row.norm() for row in torch.cat([a_BE, b_BE])]
    terms = []
    for anchor in range(2 * pairs):
        positive = (anchor + pairs) % (2 * pairs)
        kept = [row for row in range(2 * pairs) if row != anchor]
        if ids is not None:
            kept = [row for row in kept if row == positive or ids[row % pairs] != ids[anchor % pairs]]
        similar = [torch.exp(rows[anchor] @ rows[row] / temperature) for row in kept]
        terms.append(-torch.log(torch.exp(rows[anchor] @ rows[positive] / temperature) / torch.stack(similar).sum()))
    return torch.stack(terms).mean()
