import torch
from torch.nn import functional as F

from jobs.models.dropout import Dropout, Place, spread


def test_ranks_together_drop_what_one_rank_drops() -> None:
    layer = Dropout(0.3).train()
    x = torch.rand(5 * 4, 6) + 1  # five clouds of four points
    torch.manual_seed(1)
    spread(layer, Place(0, 5, 5))
    whole = layer(x)
    pieces = []
    for before, own in ((0, 2), (2, 3)):
        torch.manual_seed(1)
        spread(layer, Place(before, own, 5))
        pieces.append(layer(x[4 * before : 4 * (before + own)]))
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=0)


def test_it_drops_the_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 500)
    out = Dropout(0.4).train()(x)
    assert abs((out == 0).float().mean() - 0.4) < 0.01 and abs(out.mean() - 1) < 0.02
    assert torch.equal(out[out > 0].unique(), (torch.ones(1) / 0.6))
    assert torch.equal(Dropout(0.4).eval()(x), x) and torch.equal(Dropout(0.0).train()(x), F.dropout(x, 0.0))
