"""Binary neural networks in vision beyond classification: from a training config to bitwise inference."""

__version__ = "0.1.0"
