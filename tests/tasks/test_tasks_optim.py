"""What decays, what is frozen, and how the learning rate moves."""

import math

import pytest
import torch
from nets import retinanet

from bnn_tasks.binary import BinaryConv2d, Cosine, tie_to_size, with_real_weights
from bnn_tasks.tasks.optim import parameter_groups, schedule_learning_rate


def test_latent_binary_weights_and_vectors_do_not_decay() -> None:
    m = retinanet(width=4, channels=4)
    decayed, binary, kept = parameter_groups(m)
    assert "weight_decay" not in decayed
    assert binary["weight_decay"] == kept["weight_decay"] == 0
    assert [group["latent"] for group in (decayed, binary, kept)] == [False, True, False]
    names = {id(p): name for name, p in m.named_parameters()}
    both = [names[id(p)] for group in (decayed, binary, kept) for p in group["params"]]
    assert sorted(both) == sorted(names.values())
    latent = {f"{name}.weight" for name, layer in m.named_modules() if isinstance(layer, BinaryConv2d)}
    assert latent
    assert {names[id(p)] for p in binary["params"]} == latent
    expected = {name for name, p in m.named_parameters() if p.dim() >= 2 and name not in latent}
    assert {names[id(p)] for p in decayed["params"]} == expected
    assert "backbone.conv1.weight" in expected


@pytest.mark.parametrize("method", ["xnor_pp_full", "xnor_pp_place", "xnor_pp_separable", "react", "dsq", "recu"])
def test_a_methods_own_parameters_do_not_decay(method: str) -> None:
    layer = BinaryConv2d(4, 4, 3, method=method)
    tie_to_size(layer, torch.zeros(1, 4, 8, 8))
    binary, kept = parameter_groups(layer)
    assert binary["params"] == [layer.weight]
    assert len(kept["params"]) == len(list(layer.parameters())) - 1


def test_real_weights_of_a_first_stage_decay() -> None:
    layer = BinaryConv2d(4, 4, 3, method=with_real_weights("react"))
    decayed, _ = parameter_groups(layer)
    assert decayed["params"] == [layer.weight]
    assert not decayed["latent"]
    assert "weight_decay" not in decayed


def test_frozen_parameters_are_in_no_group() -> None:
    m = retinanet(width=4, channels=4)
    m.backbone.requires_grad_(False)
    listed = {id(p) for group in parameter_groups(m) for p in group["params"]}
    assert listed == {id(p) for p in m.parameters() if p.requires_grad}


def test_the_schedule_multiplies_every_group() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:], "lr": 0.01}]
    optimizer = torch.optim.SGD(groups)
    scheduler = schedule_learning_rate(optimizer, Cosine(), 4)
    for step in range(7):
        factor = (1 + math.cos(math.pi * min(step / 4, 1))) / 2
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.01 * factor])
        optimizer.step()
        scheduler.step()
