"""The registry against the survey's Table 1."""

import pytest

from bnn_tasks.binary import format_methods, get_method, list_methods
from bnn_tasks.binary.methods import UNBUILT

every_method = pytest.mark.parametrize("method", list_methods())

# Table 1 of the survey: ST, OP, AQ, GA of the rows that are registered (shared/reference/methods.md, A1).
TABLE = {
    "binary_connect": ((), "Adam", False, False),
    "bitwise": ((), "", False, False),
    "bnn": ((), "AdaMax", False, False),
    "bwn": ((), "SGD", False, False),
    "xnor": (("RB", "RP"), "Adam", False, False),
    "dorefa": ((), "Adam", False, False),
    "horq": ((), "Adam", False, False),
    "abc_net": ((), "SGD", False, False),
    "xnor_pp": ((), "Adam", False, False),
    "bbg": (("SC",), "", False, False),
    "lab": ((), "Adam", False, False),
    "bireal": (("SC",), "SGD", False, True),
    "cbcn": (("SC",), "SGD", False, True),
    "bnn_plus": (("RB",), "Adam", False, True),
    "dsq": ((), "Adam", False, True),
    "self_binarizing": ((), "Adam", False, True),
    "ir_net": ((), "SGD", True, True),
}
VARIANTS = {
    "binary_connect_stochastic": "binary_connect",
    "dorefa_1_1_8": "dorefa",
    "xnor_k": "xnor",
    "xnor_pp_full": "xnor_pp",
    "xnor_pp_place": "xnor_pp",
    "xnor_pp_separable": "xnor_pp",
}


@every_method
def test_the_columns_are_table_ones(method: str) -> None:
    found = get_method(method)
    row = VARIANTS.get(method, method)
    assert (row in TABLE) == found.in_survey
    if found.in_survey:
        assert (found.structure, found.optimizer, found.asymptotic, found.gradient) == TABLE[row]


def test_every_row_of_table_one_is_registered_or_has_its_reason() -> None:
    assert len(TABLE) + len(UNBUILT) == 36
    text = format_methods()
    for name in [*list_methods(), *UNBUILT]:
        assert name in text
    assert all(reason for reason in UNBUILT.values())


@every_method
def test_a_method_names_its_paper(method: str) -> None:
    found = get_method(method)
    assert found.name == method
    assert found.paper[-4:].isdigit() or "20" in found.paper
