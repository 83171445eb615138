"""Normalisation over channels against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, open_graph, run_nodes

from bnn_tasks.runtime.errors import ArtifactError
from bnn_tasks.runtime.format import Graph


@pytest.mark.parametrize("channels", [1, 5, 512])
@pytest.mark.parametrize("eps", [1e-12, 0.5])
def test_follows_torch(tmp_path, channels, eps):
    rng = np.random.default_rng(0)
    x, scale = floats(rng, 2, channels, 4, 6), 20 * floats(rng, channels)
    x[0, :, 1, 2], x[0, :, 2, 1] = 0, 1e-3  # no norm, and one below the larger eps where channels are few
    y = run_nodes(tmp_path, [node("y", "l2_norm", "images", {"eps": eps}, scale="s")], {"s": scale}, x)
    expected = F.normalize(torch.tensor(x), dim=1, eps=eps) * torch.tensor(scale)[:, None, None]
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y[0, :, 1, 2], 0)


def test_of_a_vector(tmp_path):
    x = np.array([[3, 4]], np.float32)[..., None, None]
    nodes = [node("flat", "flatten", "images"), node("y", "l2_norm", "flat", {"eps": 1e-10}, scale="s")]
    y = run_nodes(tmp_path, nodes, {"s": np.array([10, 5], np.float32)}, x)
    np.testing.assert_allclose(y, [[6, 4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("attrs", "scale", "message"),
    [({"eps": 0}, 3, "`eps`"), ({"eps": 1e-10}, 4, "`scale`"), ({}, 3, "`eps` is missing")],
)
def test_misfits_are_refused_by_name(tmp_path, attrs, scale, message):
    graph = Graph((node("y", "l2_norm", "images", attrs, scale="s"),), "y")
    with pytest.raises(ArtifactError, match=f"node `y`.*{message}"):
        open_graph(tmp_path, graph, {"s": np.ones(scale, np.float32)})
