"""The shift-based parts of BNN (Courbariaux et al., 2016, §1.4 and §1.5): every multiplication by a power of two."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def ap2(x: Tensor) -> Tensor:
    """AP2(x) = sign(x)·2^round(log2(abs(x))), the nearest power of two on a logarithmic scale; AP2(0) = 0.

    Backward: the identity, since the exact derivative is 0 almost everywhere.

    Args:
        x: any shape.
    """
    value = x.detach()
    power = torch.sign(value) * torch.exp2(torch.round(torch.log2(value.abs())))
    return power + (x - value)  # in this order, so that the value is the power exactly


class ShiftBatchNorm2d(nn.BatchNorm2d):
    """y = C·AP2(1/sqrt(v + ε))·AP2(γ) + β, C = x - mean, v = mean(C·AP2(C)) (Courbariaux et al., BNN, 2016, alg. 3).

    Running statistics are of mean and v. In evaluation it is a scale and a shift of every channel, as a plain BatchNorm, and
    exported as one; ``as_batchnorm`` gives that. Arguments are those of nn.BatchNorm2d.
    """

    def _normalise(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        scale = ap2(torch.rsqrt(variance + self.eps))
        if self.weight is not None:
            scale = scale * ap2(self.weight)
        y = (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        return (y if self.bias is None else y + self.bias.view(-1, 1, 1)).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, C, H, W)."""
        self._check_input_dim(x)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self._normalise(x, self.running_mean, self.running_var)
        mean = x.float().mean(dim=(0, 2, 3))  # statistics of a bfloat16 map are float32's, as torch's own
        centred = x - mean.view(-1, 1, 1)
        variance = (centred * ap2(centred)).mean(dim=(0, 2, 3))
        if self.training and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach(), share)
        return self._normalise(x, mean, variance)

    @torch.no_grad()
    def as_batchnorm(self) -> nn.BatchNorm2d:
        """A plain BatchNorm that in evaluation computes the same: γ' = AP2(1/sqrt(v + ε))·AP2(γ), v' = 1, ε' = 0.

        Raises:
            ValueError: there are no running statistics.
        """
        if self.running_mean is None or self.running_var is None:
            raise ValueError("Expected running statistics, but got none. Cure: track_running_stats=True.")
        plain = nn.BatchNorm2d(self.num_features, eps=0.0).to(self.running_mean.device).eval()
        assert plain.running_mean is not None
        scale = ap2(torch.rsqrt(self.running_var + self.eps))
        plain.weight.copy_(scale if self.weight is None else scale * ap2(self.weight))
        plain.running_mean.copy_(self.running_mean)
        if self.bias is not None:
            plain.bias.copy_(self.bias)
        return plain


class ShiftAdaMax(Optimizer):
    """w ← w - AP2(lr/(1 - β1^t))·m·AP2(1/v), m ← β1·m + (1-β1)·g, v ← max(β2·v, abs(g) + ε).

    Courbariaux et al., BNN, 2016, alg. 4: AdaMax (Kingma & Ba, 2014) whose products are shifts; with the defaults, 1-β1 = 2^-3
    and 1-β2 = 2^-10, those of the averages are too. A scheduled learning rate acts through AP2, in steps of two.

    Args:
        params: parameters or groups of them.
        lr: > 0, the paper's 2^-10.
        betas: (β1, β2), in [0, 1).
        eps: ε > 0, keeps 1/v finite.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2**-10,
        betas: tuple[float, float] = (1 - 2**-3, 1 - 2**-10),
        eps: float = 1e-8,
    ) -> None:
        if not lr > 0 or not eps > 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Expected lr > 0, betas in [0, 1), eps > 0, but got lr={lr}, betas={betas}, eps={eps}.")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step.

        Args:
            closure: computes the loss and the gradients anew.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_inf"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                mean = state["exp_avg"].lerp_(parameter.grad, 1 - beta1)
                norm = torch.maximum(
                    state["exp_inf"].mul_(beta2), parameter.grad.abs() + group["eps"], out=state["exp_inf"]
                )
                rate = ap2(torch.tensor(group["lr"] / (1 - beta1 ** float(state["step"]))))
                parameter.sub_(float(rate) * mean * ap2(1 / norm))
        return loss
