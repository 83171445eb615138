"""The contenders, by name."""
