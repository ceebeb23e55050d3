"""Features of single points beside the pooled ones."""
import pytest
import torch

from jobs.models.tables import build_backbone


@pytest.mark.parametrize("name", ["dgcnn", "dgcnn_partseg", "dgcnn_semseg", "pointnet", "pointnet_partseg"])
def test_features_of_points_follow_their_points_and_the_pooled_ones_are_the_usual(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_backbone(name, k=6).double().eval()
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    order = torch.randperm(40)
    with torch.no_grad():
        feat, local = encoder.per_point(points)  # type: ignore[operator]
        torch.testing.assert_close(feat, encoder(points))
        turned, moved = encoder.per_point(points[:, order])  # type: ignore[operator]
    assert local.shape == (2, 40, encoder.local_dim) and feat.shape == (2, encoder.feature_dim)
    torch.testing.assert_close(moved, local[:, order], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned, feat, rtol=1e-9, atol=1e-9)


def test_a_cloud_with_copies_has_features_for_each_of_them() -> None:
    torch.manual_seed(1)
    encoder = build_backbone("dgcnn", k=4).double().train()
    points = torch.randn(3, 24, 3, dtype=torch.float64)
    points[:, 10:15] = points[:, :1]
    feat, local = encoder.per_point(points)  # type: ignore[operator]
    torch.testing.assert_close(feat, encoder(points), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(local[:, 10:15], local[:, :1].expand(-1, 5, -1))
