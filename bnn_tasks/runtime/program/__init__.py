"""From a graph to steps: what runs together, where it lies, and the rows of numbers that the kernels of `simd` read."""
