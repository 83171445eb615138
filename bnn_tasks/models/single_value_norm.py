"""BatchNorm on maps that shrink to one position, as SSD's last one does."""

import torch.nn.functional as F
from torch import Tensor, nn


class SingleValueBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a training batch has one value a channel, which has no variance.

    torch's own raises there: the last batch of an epoch may be one image. Arguments are those of ``nn.BatchNorm2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`, (N, C, H, W)."""
        if self.training and x.numel() == self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def allow_single_values(module: nn.Module) -> None:
    """Put a fresh `SingleValueBatchNorm2d` in the place of every BatchNorm2d in `module`, which is not trained yet."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SingleValueBatchNorm2d(child.num_features, child.eps, child.momentum))
