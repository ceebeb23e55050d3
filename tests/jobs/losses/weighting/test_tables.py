"""The table of weightings, and static weights."""
from typing import get_args

import pytest
import torch

from jobs.config.sections import AdaCrossNetWeighting, StaticWeighting, Weighting
from jobs.losses.weighting.tables import WEIGHTINGS, build_weighting


def test_the_table_holds_the_schemas_choices() -> None:
    sections = get_args(get_args(Weighting)[0])
    assert set(WEIGHTINGS) == {name for section in sections for name in get_args(section.model_fields["name"].annotation)}


@pytest.mark.parametrize("section", [StaticWeighting(name="static"), AdaCrossNetWeighting(name="adacrossnet")])
def test_a_config_sections_fields_are_the_settings(section: StaticWeighting | AdaCrossNetWeighting) -> None:
    weighting = build_weighting(section.name, 2, "cpu", torch.float64, **section.model_dump(exclude={"name"}))
    weights = weighting.weigh(torch.tensor([3.0, 2.0], dtype=torch.float64))
    assert weights.shape == (2,) and weights.dtype == torch.float64
    weighting.load_state_dict(weighting.state_dict())


def test_static_weights_stay_whatever_the_losses() -> None:
    weighting = build_weighting("static", 2, "cpu", torch.float32, intra=0.5, cross=1.5)
    for losses in (torch.tensor([1.0, 9.0]), torch.tensor([5.0, 0.1])):
        assert weighting.weigh(losses).tolist() == [0.5, 1.5]


def test_unknown_names_foreign_states_and_other_numbers_of_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="'gradnorm'; there are adacrossnet, static"):
        build_weighting("gradnorm", 2, "cpu", torch.float32)
    with pytest.raises(ValueError, match="3 losses"):
        build_weighting("static", 3, "cpu", torch.float32, intra=1.0, cross=1.0)
    with pytest.raises(ValueError, match="previous"):
        build_weighting("static", 2, "cpu", torch.float32, intra=1.0, cross=1.0).load_state_dict({"previous": torch.zeros(2)})
