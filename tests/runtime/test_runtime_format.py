"""The file: round trip, digests, versions, atomic writing."""

import json
import os

import mutate
import numpy as np
import pytest
import safetensors.numpy
from graphs import node, tiny_detector, tiny_net

from bnn_tasks.runtime import ArtifactError, format
from bnn_tasks.runtime.format import SEMANTICS, Graph, load, save
from bnn_tasks.runtime.schema import read_graph


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "net.safetensors", *tiny_net())
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("make", [tiny_net, tiny_detector])
def test_round_trip(tmp_path, make):
    graph, tensors = make()
    save(tmp_path / "a", graph, tensors)
    again, loaded = load(tmp_path / "a")
    assert again.to_dict() == graph.to_dict()
    assert again == read_graph(json.loads(json.dumps(graph.to_dict())))
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        np.testing.assert_array_equal(loaded[name], tensor)
    save(tmp_path / "b", again, loaded)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_reads_it(path):
    tensors = safetensors.numpy.load_file(path)
    for name, tensor in tiny_net()[1].items():
        np.testing.assert_array_equal(tensors[name], tensor)


def test_tensors_that_are_not_contiguous(tmp_path):
    graph = Graph((node("y", "conv2d", "images", TALL, weight="w"),), "y", channels=2)
    weight = np.arange(36, dtype=np.float32).reshape(3, 3, 2, 2).transpose(3, 2, 0, 1)
    save(tmp_path / "a", graph, {"w": weight})
    np.testing.assert_array_equal(load(tmp_path / "a")[1]["w"], weight)


TALL = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}


def edit_metadata(path, **changes):
    header, body = mutate.split(path.read_bytes())
    header["__metadata__"].update(changes)
    path.write_bytes(mutate.join(header, body))


def test_a_newer_version_asks_for_an_upgrade(path):
    edit_metadata(path, format_version="12")
    with pytest.raises(ArtifactError, match=r"net.safetensors: .*version 1, but got '12'.*upgrade bnn-tasks"):
        load(path)


@pytest.mark.parametrize("version", ["0", "1.0", "", "x", "-2"])
def test_another_version(path, version):
    edit_metadata(path, format_version=version)
    with pytest.raises(ArtifactError, match="export the network again"):
        load(path)


def test_other_semantics(path):
    header, body = mutate.split(path.read_bytes())
    header["__metadata__"]["semantics"] = json.dumps(SEMANTICS | {"sign_of_zero": True})
    path.write_bytes(mutate.resign(header, body))
    with pytest.raises(ArtifactError, match="semantics"):
        load(path)


def test_semantics_may_be_spelt_otherwise(path):
    header, body = mutate.split(path.read_bytes())
    header["__metadata__"]["semantics"] = json.dumps(dict(reversed(SEMANTICS.items())), indent=2)
    path.write_bytes(mutate.resign(header, body))
    load(path)


@pytest.mark.parametrize("key", ["graph", "semantics"])
def test_digest_of_a_text(path, key):
    header, body = mutate.split(path.read_bytes())
    header["__metadata__"][key] += " "
    path.write_bytes(mutate.join(header, body))
    with pytest.raises(ArtifactError, match=f"digest of `{key}`"):
        load(path)


@pytest.mark.parametrize("name", list(tiny_net()[1]))
def test_digest_of_a_tensor(path, name):
    header, body = mutate.split(path.read_bytes())
    changed = bytearray(body)
    changed[header[name]["data_offsets"][0]] ^= 1
    path.write_bytes(mutate.join(header, bytes(changed)))
    with pytest.raises(ArtifactError, match=f"digest of tensor `{name}`"):
        load(path)


@pytest.mark.parametrize("key", ["format", "format_version", "graph", "semantics", "sha256"])
def test_missing_and_foreign_metadata(path, key):
    data = path.read_bytes()
    header, body = mutate.split(data)
    del header["__metadata__"][key]
    path.write_bytes(mutate.join(header, body))
    with pytest.raises(ArtifactError, match=r"net\.safetensors: Expected"):
        load(path)
    path.write_bytes(data)
    edit_metadata(path, **{f"{key}2": "x"})
    with pytest.raises(ArtifactError, match="Expected the metadata"):
        load(path)


@pytest.mark.parametrize("key", ["format", "format_version", "graph", "semantics", "sha256"])
def test_texts_that_are_no_unicode(path, key):
    edit_metadata(path, **{key: "\ud800"})
    with pytest.raises(ArtifactError, match="Expected"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 100, b"PK\x03\x04" * 50, b"{}" * 100])
def test_other_files(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ArtifactError, match="file: Expected a safetensors file"):
        load(tmp_path / "file")


def test_a_plain_safetensors_file(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "file")
    with pytest.raises(ArtifactError, match="metadata"):
        load(tmp_path / "file")
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "file", {"format": "pt"})
    with pytest.raises(ArtifactError, match="bnn-tasks export"):
        load(tmp_path / "file")


def test_no_file_and_no_regular_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")
    with pytest.raises((ArtifactError, OSError)):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="regular file"):
        load(tmp_path / "pipe")


def test_save_refuses_what_would_not_load(tmp_path):
    graph, tensors = tiny_net()
    with pytest.raises(ArtifactError, match=r"new: node `stem` .*`stem.b`"):
        save(tmp_path / "new", graph, {k: v for k, v in tensors.items() if k != "stem.b"})
    with pytest.raises(ArtifactError, match="tensor `extra` to be of"):
        save(tmp_path / "new", graph, tensors | {"extra": np.zeros(2)})
    with pytest.raises(ArtifactError, match="no node uses"):
        save(tmp_path / "new", graph, tensors | {"extra": np.zeros(2, np.float32)})
    assert not list(tmp_path.iterdir())


def test_save_leaves_the_old_file_when_writing_fails(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, *tiny_detector())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_header_is_read_up_to_a_size(path, monkeypatch):
    length = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr(format, "MAX_HEADER_BYTES", length)
    load(path)
    monkeypatch.setattr(format, "MAX_HEADER_BYTES", length - 1)
    with pytest.raises(ArtifactError, match=f"header of at most {length - 1} bytes"):
        load(path)
