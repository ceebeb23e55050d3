"""The three papers' terms, each from NT-Xent written out."""
from typing import get_args

import pytest
import torch
from torch import Tensor

from jobs.config.sections import Objective
from jobs.losses.objective import CROSS, needs_grey, pretraining_losses
from tests.jobs.losses.obvious import nt_xent_by_terms

IDS = torch.arange(4) * 3


def embeddings() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return tuple(torch.randn(rows, 6, dtype=torch.float64) for rows in (8, 4, 4))  # type: ignore[return-value]


def losses(cross: str, same_sample_negatives: bool = False) -> Tensor:
    points, rgb, grey = embeddings()
    seen = grey if needs_grey(cross) else None
    return pretraining_losses(points, rgb, seen, cross=cross, temperature=0.2, same_sample_negatives=same_sample_negatives, ids_B=IDS)


def test_the_table_holds_the_schemas_choices() -> None:
    assert set(CROSS) == set(get_args(Objective.model_fields["cross"].annotation))


@pytest.mark.parametrize("cross", sorted(CROSS))
def test_the_intra_modal_term_contrasts_the_two_views(cross: str) -> None:
    points, _, _ = embeddings()
    torch.testing.assert_close(losses(cross)[0], nt_xent_by_terms(points[:4], points[4:], 0.2))


def test_crosspoint_contrasts_the_mean_of_the_views_with_rgb() -> None:
    points, rgb, _ = embeddings()
    torch.testing.assert_close(losses("crosspoint")[1], nt_xent_by_terms((points[:4] + points[4:]) / 2, rgb, 0.2))
    assert not needs_grey("crosspoint")


def test_crossnet_ave_adds_the_same_with_grey() -> None:
    points, rgb, grey = embeddings()
    mean = (points[:4] + points[4:]) / 2
    torch.testing.assert_close(losses("crossnet-ave")[1], nt_xent_by_terms(mean, rgb, 0.2) + nt_xent_by_terms(mean, grey, 0.2))


def test_crossnet_con_stacks_and_masks_a_shapes_other_rows_unless_asked_not_to() -> None:
    points, rgb, grey = embeddings()
    pictures = torch.cat([rgb, grey])
    torch.testing.assert_close(losses("crossnet-con")[1], nt_xent_by_terms(points, pictures, 0.2, [*range(4), *range(4)]))
    torch.testing.assert_close(losses("crossnet-con", True)[1], nt_xent_by_terms(points, pictures, 0.2))


def test_what_an_objective_lacks_is_said() -> None:
    points, rgb, grey = embeddings()
    with pytest.raises(ValueError, match="grey tower"):
        pretraining_losses(points, rgb, None, cross="crossnet-con", temperature=0.2, same_sample_negatives=False, ids_B=IDS)
    with pytest.raises(ValueError, match="two views"):
        pretraining_losses(points[:7], rgb, grey, cross="crossnet-con", temperature=0.2, same_sample_negatives=False, ids_B=IDS)
    with pytest.raises(ValueError, match="'crosspiont'; there are crossnet-ave, crossnet-con, crosspoint"):
        needs_grey("crosspiont")
