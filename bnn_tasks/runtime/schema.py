"""Strict reading of a graph from JSON: exact keys, types, ranges, names and order; all that needs no tensor."""

import reprlib
from collections.abc import Sequence
from typing import Any

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.resize import MAX_SIDE, Resize

MAX_NODES = 10_000
MAX_NAME = 200  # characters
MAX_SIZES = 32  # declared input sizes
MAX_LEAVES = 4096  # values in `outputs`
MAX_DEPTH = 16  # of `outputs`
MAX_INPUT_CHANNELS = 1024


def read_graph(values: Any) -> Graph:
    """Read a graph.

    Args:
        values: as read from JSON.

    Returns:
        The graph.

    Raises:
        GraphError: naming the node and the key.
    """
    optional = frozenset({"probabilities", "class_map"})
    keys = ("input", "nodes", "outputs", "detections", "classes", "resize", "probabilities", "class_map")
    _keys(values, keys, "the graph", optional)
    _keys(values["input"], ("name", "channels"), "`input`")
    channels = values["input"]["channels"]
    if type(channels) is not int or not 1 <= channels <= MAX_INPUT_CHANNELS:
        raise _refuse("`input` channels", f"an integer in [1, {MAX_INPUT_CHANNELS}]", channels)
    made = {read_name(values["input"]["name"], "`input` name")}
    _list(values["nodes"], "`nodes`", MAX_NODES)
    nodes: list[Node] = []
    names: set[str] = set()
    for index, node in enumerate(values["nodes"]):
        nodes.append(_node(node, f"node {index}", made))
        if nodes[-1].name in names:
            raise GraphError(f"Expected node names to be unique, but got `{nodes[-1].name}` twice.")
        names.add(nodes[-1].name)
    _outputs(values["outputs"], made)
    graph = Graph(
        nodes=tuple(nodes),
        outputs=values["outputs"],
        channels=channels,
        input_name=values["input"]["name"],
        detections=values["detections"],
        classes=tuple(read_name(c, "a class") for c in _list(values["classes"], "`classes`", None)),
        resize=values["resize"],
        probabilities=values.get("probabilities"),
        class_map=values.get("class_map"),
    )
    _check_resize(graph.resize)
    _check_detections(graph)
    _check_one_value(graph, "probabilities", graph.probabilities, "a softmax node", "softmax")
    _check_one_value(graph, "class_map", graph.class_map, "an argmax node", "argmax")
    results = {"detections": graph.detections, "probabilities": graph.probabilities, "class_map": graph.class_map}
    given = [f"`{key}`" for key, value in results.items() if value is not None]
    if len(given) > 1:
        raise GraphError(f"Expected a graph to have one kind of result, but it has {' and '.join(given)}.")
    return graph


def _refuse(what: str, expected: str, value: Any) -> GraphError:
    return GraphError(f"Expected {what} to be {expected}, but got {reprlib.repr(value)}.")


def _keys(value: Any, keys: Sequence[str], what: str, optional: frozenset[str] = frozenset()) -> None:
    """Exactly these keys, but `optional` ones may be missing."""
    if type(value) is not dict:
        raise _refuse(what, "an object", value)
    for key in value:
        if key not in keys:
            raise GraphError(f"Expected {what} to have the keys {list(keys)}, but got also {reprlib.repr(key)}.")
    for key in keys:
        if key not in value and key not in optional:
            raise GraphError(f"Expected {what} to have the keys {list(keys)}, but `{key}` is missing.")


def read_name(value: Any, what: str) -> str:
    """A name that can stand in a message."""
    if type(value) is not str or not 1 <= len(value) <= MAX_NAME or not value.isprintable():
        raise _refuse(what, f"a string of 1 to {MAX_NAME} printable characters", value)
    return value


def _list(value: Any, what: str, longest: int | None) -> list[Any]:
    if type(value) is not list or (longest is not None and len(value) > longest):
        raise _refuse(what, "a list" if longest is None else f"a list of at most {longest} items", value)
    return value


def _node(value: Any, what: str, made: set[str]) -> Node:
    """Read a node; `made` holds the values so far and gets the node's own."""
    _keys(value, ("name", "op", "inputs", "outputs", "attrs", "tensors"), what)
    name = read_name(value["name"], f"the name of {what}")
    what = f"node `{name}`"
    if type(value["op"]) is not str or value["op"] not in OPS:
        raise _refuse(f"the op of {what}", f"one of {list(OPS)}", value["op"])
    op = OPS[value["op"]]
    inputs = _list(value["inputs"], f"the inputs of {what}", op.arity[1])
    if len(inputs) < op.arity[0]:
        raise GraphError(f"Expected {what} ({value['op']}) to have {op.arity[0]} inputs or more, got {len(inputs)}.")
    for read in inputs:
        if read_name(read, f"an input of {what}") not in made:
            raise GraphError(f"Expected the inputs of {what} to be made before it, but `{read}` is not.")
    for make in _list(value["outputs"], f"the outputs of {what}", len(op.produces)):
        if read_name(make, f"an output of {what}") in made:
            raise GraphError(f"Expected every value to be made once, but {what} makes `{make}` again.")
        made.add(make)
    if len(value["outputs"]) != len(op.produces):
        raise GraphError(f"Expected {what} to have the outputs {list(op.produces)}, got {len(value['outputs'])}.")
    _keys(value["attrs"], tuple(op.attrs), f"the attrs of {what}", op.optional_attrs)
    for key, attr in value["attrs"].items():
        try:
            op.attrs[key].check(key, attr)
        except GraphError as error:
            raise GraphError(f"{what} ({value['op']}): {error}") from error
    optional = frozenset(role for role in op.roles if not op.roles[role].required)
    _keys(value["tensors"], tuple(op.roles), f"the tensors of {what}", optional)
    for role, tensor in value["tensors"].items():
        read_name(tensor, f"tensor `{role}` of {what}")
    return Node(name, value["op"], tuple(inputs), tuple(value["outputs"]), value["attrs"], value["tensors"])


def _outputs(value: Any, made: set[str]) -> None:
    """Check the nested structure of value names, without recursion that a hostile file could drive too deep."""
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if type(item) is dict:
                deeper += [item[read_name(key, "a key of `outputs`")] for key in item]
            elif type(item) is list:
                deeper += item
            elif read_name(item, "a leaf of `outputs`") not in made:
                raise GraphError(f"Expected `outputs` to name values of the graph, but `{item}` is none.")
            else:
                count += 1
        if len(deeper) + count > MAX_LEAVES:
            raise GraphError(f"Expected `outputs` to have at most {MAX_LEAVES} values.")
        level = deeper
    if level or not count:
        raise GraphError(f"Expected `outputs` to name a value, at most {MAX_DEPTH} levels deep.")


def _check_resize(resize: Any) -> None:
    if resize is None:
        return
    _keys(resize, ("sizes", "rule"), "`resize`")
    sizes = _list(resize["sizes"], "`resize` sizes", MAX_SIZES)
    for size in sizes:
        sides = _list(size, "a size in `resize`", 2)
        if len(sides) != 2 or any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in sides):
            raise _refuse("a size in `resize`", f"[height, width] in [1, {MAX_SIDE}]", size)
    read_name(resize["rule"], "`resize` rule")
    try:
        Resize.from_dict(resize)
    except (ValueError, TypeError) as error:
        raise GraphError(f"`resize`: {error}") from error


def _check_detections(graph: Graph) -> None:
    """All three values come from one nms node, whose classes have names, in a graph that takes images."""
    if graph.detections is None:
        return
    _keys(graph.detections, ("boxes", "scores", "labels"), "`detections`")
    values = tuple(graph.detections[key] for key in ("boxes", "scores", "labels"))
    source = [node for node in graph.nodes if node.op in ("nms", "nms_softmax") and node.outputs == values]
    if not source:
        raise _refuse("`detections`", "the outputs of one nms node", values)
    classes = source[0].attrs["num_classes"]
    if len(graph.classes) != classes:
        raise GraphError(
            f"Expected `classes` to name the {classes} classes of `{source[0].name}`, but got {len(graph.classes)}."
        )
    if graph.resize is None or graph.channels not in (1, 3):
        raise GraphError("Expected a graph with `detections` to have `resize` and 1 (grey) or 3 (RGB) input channels.")


def _check_one_value(graph: Graph, key: str, given: Any, maker: str, op: str) -> None:
    """The value comes from its maker, a node of `op`, in a graph that takes images and has names for its classes."""
    if given is None:
        return
    value = read_name(given, f"`{key}`")
    if not any(node.op == op and node.outputs == (value,) for node in graph.nodes):
        raise _refuse(f"`{key}`", f"the output of {maker}", value)
    if not graph.classes:
        raise GraphError(f"Expected `classes` to name the classes of `{key}`, but got none.")
    if graph.resize is None or graph.channels not in (1, 3):
        raise GraphError(f"Expected a graph with `{key}` to have `resize` and 1 (grey) or 3 (RGB) input channels.")
