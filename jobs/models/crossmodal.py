"""What is pretrained: a point encoder and image towers, each with its projection. B shapes, N points, S pixels a side, E = 256."""
from __future__ import annotations

from torch import Tensor, nn

from .projection import image_head, inv_head
from .tables import build_backbone, build_tower


class CrossModal(nn.Module):
    """Point encoder `.encoder` with `.inv_head`, RGB tower `.rgb` with `.rgb_head` and, where `grey`, `.grey` with `.grey_head`.

    After CrossPoint (Afham et al. 2022; one tower) and CrossNet and AdaCrossNet (two). Initial weights are drawn from torch's global
    generator, in that order. Every parameter takes part in every forward pass.
    """

    def __init__(self, backbone: str, k: int, tower: str, grey: bool) -> None:
        super().__init__()
        self.encoder = build_backbone(backbone, k)
        self.inv_head = inv_head(int(self.encoder.feature_dim))  # type: ignore[arg-type]
        self.rgb = build_tower(tower, 3)
        self.rgb_head = image_head(self.rgb.feature_dim)
        self.grey = build_tower(tower, 1) if grey else None
        self.grey_head = image_head(self.grey.feature_dim) if self.grey is not None else None

    def forward(self, points_2BNC: Tensor, rgb_B3HW: Tensor, grey_B1HW: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """-> (z_points_2BE, z_rgb_BE, z_grey_BE or None): both views, view 1's B rows first, pass the encoder as one batch.

        Raises ValueError when there are not two views a picture, and when grey pictures are given without a grey tower or missing with one.
        """
        if len(points_2BNC) != 2 * len(rgb_B3HW):
            raise ValueError(f"{len(points_2BNC)} clouds beside {len(rgb_B3HW)} pictures: give two views of a shape for each picture")
        z_points_2BE = self.inv_head(self.encoder(points_2BNC))
        z_rgb_BE = self.rgb_head(self.rgb(rgb_B3HW))
        if self.grey is None or self.grey_head is None:
            if grey_B1HW is not None:
                raise ValueError("grey pictures were given to a model without a grey tower: build it with grey=True or leave them out")
            return z_points_2BE, z_rgb_BE, None
        if grey_B1HW is None:
            raise ValueError("a model with a grey tower was given no grey pictures: its objective needs them")
        return z_points_2BE, z_rgb_BE, self.grey_head(self.grey(grey_B1HW))
