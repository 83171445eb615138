"""The two errors of the runtime: a bad file, and a bad node inside a graph."""


class ArtifactError(ValueError):
    """The file is damaged, hostile, or of another version. The message names the file and the node or tensor."""


class OpError(ValueError):
    """A node's attributes, tensors or inputs are not what its op takes. Whoever knows the file adds its name."""


class TooSmallError(OpError):
    """A map would shrink to nothing: the fault of the image's size, not of the file."""
