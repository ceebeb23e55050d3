"""PointNet's spatial transform, of coordinates or of features. B clouds, N points, C channels."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .pooling import pool_points


class PointNetTransform(nn.Module):
    """Multiplies every point by a C x C matrix that a small PointNet reads off the whole cloud (Qi et al. 2017); its published names.

    As in the paper the matrix starts at the identity: the last layer, which gives what is added to it, starts at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, 64, 1)
        self.conv2 = nn.Conv1d(64, 128, 1)
        self.conv3 = nn.Conv1d(128, 1024, 1)
        self.fc1 = nn.Linear(1024, 512)
        self.fc2 = nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, channels * channels)
        self.bn1 = BatchNorm(64)
        self.bn2 = BatchNorm(128)
        self.bn3 = BatchNorm(1024)
        self.bn4 = BatchNorm(512)
        self.bn5 = BatchNorm(256)
        nn.init.zeros_(self.fc3.weight)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]. Raises ValueError in training when all ranks' batches hold one cloud."""
        clouds, points, channels = x_BNC.shape
        y_MC = x_BNC.flatten(0, 1)
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            y_MC = F.relu(norm(F.linear(y_MC, convolution.weight[:, :, 0], convolution.bias)))
        y_MC = F.linear(y_MC, self.conv3.weight[:, :, 0], self.conv3.bias)
        y_BC = pool_points(y_MC.view(clouds, points, -1), self.bn3, 0.0)[0]  # ReLU and maximum
        y_BC = F.relu(self.bn4(self.fc1(y_BC)))
        y_BC = F.relu(self.bn5(self.fc2(y_BC)))
        added_BCC = self.fc3(y_BC).view(clouds, channels, channels)
        return x_BNC + x_BNC @ added_BCC  # the identity's part exactly, also where the product is rounded to bf16
