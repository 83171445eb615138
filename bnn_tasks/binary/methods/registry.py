"""The registered methods by name, and as the survey's Table 1 (Qin et al., Binary Neural Networks: A Survey, 2020)."""

from bnn_tasks.binary.methods import gradient, survey
from bnn_tasks.binary.methods.method import Method
from bnn_tasks.binary.methods.unbuilt import UNBUILT
from bnn_tasks.binary.names import nearest, plain

_METHODS = {method.name: method for method in (*survey.METHODS, *gradient.METHODS)}


def list_methods() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_METHODS)


def get_method(method: str | Method) -> Method:
    """Look a method up.

    Args:
        method: a registered name, or a `Method` of your own, which is returned as it is.

    Raises:
        ValueError: the name is not registered; the message lists the nearest and all that are, and says why a row of the
            survey's Table 1 is not among them.
        TypeError: `method` is neither.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"Expected `method` to be a name or a Method, but got {type(method).__name__}.")
    if method not in _METHODS:
        why = {plain(name): f" Not built: {reason}." for name, reason in UNBUILT.items()}
        own = (
            " Cure for a function of your own: {class_path: module.function}, annotated -> Method."
            if "." in method
            else ""
        )
        hint = why.get(plain(method)) or own or nearest(method, _METHODS)
        raise ValueError(f"Expected `method` to be one of {list_methods()}, but got {method!r}.{hint}")
    return _METHODS[method]


def format_methods() -> str:
    """The registry as text: a line a method with Table 1's columns, then the rows of Table 1 that are not built, and why."""
    head = f"{'method':<26} {'W/A':<5} {'ST':<6} {'OP':<7} {'AQ':<4} {'GA':<4} paper"
    lines = [head, "-" * 110]
    for method in _METHODS.values():
        bits = "1/1" if method.binary_activations else "1/32"
        columns = ("+".join(method.structure) or "-", method.optimizer or "-")
        flags = ["yes" if flag else "-" for flag in (method.asymptotic, method.gradient)]
        mark = "" if method.in_survey else " [after Table 1]"
        lines.append(
            f"{method.name:<26} {bits:<5} {columns[0]:<6} {columns[1]:<7} {flags[0]:<4} {flags[1]:<4} {method.paper}{mark}"
        )
    lines += [
        "",
        "ST structure transformation: RB reorder BatchNorm, RP reorder pooling, SC shortcut; OP optimiser; AQ asymptotic "
        "quantisation; GA gradient approximation.",
        "",
        "Rows of Table 1 that are not registered:",
    ]
    lines += [f"  {name:<34} {reason}" for name, reason in UNBUILT.items()]
    return "\n".join(lines)
