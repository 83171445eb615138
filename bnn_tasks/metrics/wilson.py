"""How sure a share of a few hundred images is."""

import math

Z95 = 1.959963984540054  # 97.5 % quantile of the normal law: intervals that hold in 95 % of the cases


def wilson_interval(hits: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share, (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = hits/n (Wilson, 1927).

    Unlike p ± z·√(p(1-p)/n) it does not shrink to a point at 0 and 1.

    Args:
        hits: 0 … count.
        count: n >= 1.
        z: quantile of the normal law, > 0.

    Returns:
        (low, high), in [0, 1].

    Raises:
        ValueError: `hits` or `count` is out of range.
    """
    if count < 1 or not 0 <= hits <= count:
        raise ValueError(f"Expected 0 <= `hits` <= `count` and `count` >= 1, but got {hits} and {count}.")
    p = hits / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
