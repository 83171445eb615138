"""The errors of the runtime."""


class ArtifactError(ValueError):
    """The file is damaged, hostile, or of another version. The message names the file and the node or tensor."""


class GraphError(ValueError):
    """What is wrong with a graph or node, said by code that does not know the file; whoever does adds its name."""


class TooSmallError(GraphError):
    """A map would shrink to nothing: the fault of the image's size, not of the file."""
