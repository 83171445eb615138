"""The estimators by name."""

from bnn_tasks.binary.estimators.base import Estimator
from bnn_tasks.binary.estimators.fixed import FDA, STE, ApproxSign, ClippedSTE, SignSwish, Tanh
from bnn_tasks.binary.estimators.scheduled import DSQ, EDE, TrainingAware
from bnn_tasks.binary.names import nearest

_ESTIMATORS: dict[str, type[Estimator]] = {
    "approx_sign": ApproxSign,
    "clipped_ste": ClippedSTE,
    "dsq": DSQ,
    "ede": EDE,
    "fda": FDA,
    "sign_swish": SignSwish,
    "ste": STE,
    "tanh": Tanh,
    "training_aware": TrainingAware,
}


def list_estimators() -> list[str]:
    """Names of all estimators, sorted."""
    return sorted(_ESTIMATORS)


def get_estimator(estimator: str | Estimator) -> Estimator:
    """Look an estimator up.

    Args:
        estimator: a name, which gives a new object with its class's defaults, or an `Estimator`, which is returned as it is.

    Raises:
        ValueError: the name is unknown; the message lists the nearest and all that are known.
        TypeError: `estimator` is neither, for instance a class.
    """
    if isinstance(estimator, Estimator):
        return estimator
    if not isinstance(estimator, str):
        raise TypeError(
            f"Expected `estimator` to be an Estimator object, as STE(), or one of {list_estimators()}, but got {estimator!r}."
        )
    if estimator not in _ESTIMATORS:
        raise ValueError(
            f"Expected `estimator` to be one of {list_estimators()}, but got {estimator!r}.{nearest(estimator, _ESTIMATORS)}"
        )
    return _ESTIMATORS[estimator]()
