"""The pretrained whole: shapes, seeds, every parameter used."""
import pytest
import torch

from jobs.models.crossmodal import CrossModal


@pytest.mark.parametrize("backbone", ["dgcnn", "pointnet"])
@pytest.mark.parametrize("grey", [True, False])
def test_it_embeds_both_views_and_pictures_and_uses_every_parameter(backbone: str, grey: bool) -> None:
    torch.manual_seed(0)
    model = CrossModal(backbone, 4, "resnet18", grey)
    pictures = torch.randn(3, 1, 32, 32) if grey else None
    outputs = model(torch.randn(6, 16, 3), torch.randn(3, 3, 32, 32), pictures)
    shapes = [None if z is None else list(z.shape) for z in outputs]
    assert shapes == [[6, 256], [3, 256], [3, 256] if grey else None]
    sum(z.square().sum() for z in outputs if z is not None).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(CrossModal("pointnet", 4, "resnet18", True).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_views_and_pictures_that_do_not_fit_are_refused() -> None:
    with_grey, without = CrossModal("pointnet", 4, "resnet18", True), CrossModal("pointnet", 4, "resnet18", False)
    clouds, rgb, grey = torch.randn(4, 8, 3), torch.randn(2, 3, 32, 32), torch.randn(2, 1, 32, 32)
    with pytest.raises(ValueError, match="two views"):
        without(clouds[:3], rgb, None)
    with pytest.raises(ValueError, match="without a grey tower"):
        without(clouds, rgb, grey)
    with pytest.raises(ValueError, match="given no grey"):
        with_grey(clouds, rgb, None)
