import pytest
import torch
from torch import nn

from bnn_tasks.binary import STE, attack_surrogate
from bnn_tasks.tasks.compiled import CompiledForward


def test_a_compiled_forward_refuses_the_attackers_surrogate() -> None:
    forward = CompiledForward(nn.Identity())
    with attack_surrogate(STE()), pytest.raises(ValueError, match="compile: false"):
        forward(torch.zeros(1, 3, 4, 4))
