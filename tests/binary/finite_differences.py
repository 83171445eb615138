"""Derivatives of forms that say what their backward sees: see closed_forms.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
State = dict[str, Array]
Form = Callable[[Array, float, State, "Forward"], Array]


class Forward:
    """Plain evaluation."""

    def through(self, value: Array, carrier: Array) -> Array:
        return value

    def hold(self, value: Array) -> Array:
        return value


@dataclass
class Frozen(Forward):
    """Evaluation around a point: the first fixes it, ``restart`` precedes every further one."""

    kept: list[Array] = field(default_factory=list)
    position: int = 0
    first: bool = True

    def restart(self) -> None:
        self.first, self.position = False, 0

    def _keep(self, value: Array) -> Array:
        if self.first:
            self.kept.append(np.array(value))
        self.position += 1
        return self.kept[self.position - 1]

    def hold(self, value: Array) -> Array:
        return self._keep(value)

    def through(self, value: Array, carrier: Array) -> Array:
        return self._keep(value) + carrier - self._keep(carrier)


def gradients(form: Form, x: Array, p: float, state: State, above: Array) -> tuple[Array, State]:
    """Derivatives of Σ above·form by x and by every entry of the state, by central differences."""
    do = Frozen()
    form(x, p, state, do)

    def loss() -> float:
        do.restart()
        return float((above * form(x, p, state, do)).sum())

    def slopes(array: Array) -> Array:
        result = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            value, step = array[index], 1e-6
            sides = []
            for shifted in (value + step, value - step):
                array[index] = shifted
                sides.append(loss())
            array[index] = value
            result[index] = (sides[0] - sides[1]) / (2 * step)
        return result

    x, state = x.copy(), {name: np.array(value) for name, value in state.items()}
    return slopes(x), {name: slopes(value) for name, value in state.items()}
