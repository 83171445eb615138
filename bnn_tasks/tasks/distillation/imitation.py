"""What distillation is in every task: a teacher, and the terms of imitation."""

from typing import Any, Generic, TypeVar

from torch import nn

from bnn_tasks.tasks.distillation.frozen import FrozenTeacher
from bnn_tasks.tasks.losses import check_names

Teacher = TypeVar("Teacher", bound=FrozenTeacher)


class Term(nn.Module):
    """Base class of the terms: one way in which a student is to be like its teacher.

    Attributes:
        name: under which it is logged.
        by_class: whether it compares outputs class by class, so that both nets must have the same classes in the same order.
    """

    name: str
    by_class = False

    def bind(self, model: Any) -> None:
        """Make the parameters that depend on the student, and check the arguments against it; called once, before the
        optimiser is built.

        Args:
            model: the student.
        """


class Imitation(nn.Module, Generic[Teacher]):
    """Base class of the auxiliary losses that imitate a teacher, which looks once at each batch, as the student gets it.

    Args:
        teacher: what is imitated.
        terms: how; at least one.
        until: share of the run after which imitation ends, in (0, 1]; 1 is never.

    Raises:
        ValueError: no terms, two of one name, or `until` is out of range.
    """

    def __init__(self, teacher: Teacher, terms: list[Any], until: float = 1.0) -> None:
        super().__init__()
        if not terms or not 0 < until <= 1:
            raise ValueError(f"Expected at least one of `terms` and `until` in (0, 1], but got {terms} and {until}.")
        check_names([term.name for term in terms])
        self.teacher, self.until = teacher, until
        self.terms = nn.ModuleList(terms)

    def bind(self, model: Any) -> None:
        """Bind every term."""
        for term in self.terms:
            assert isinstance(term, Term)
            term.bind(model)

    def check_classes(self, classes: list[str]) -> None:
        """Raise ValueError where a term compares class by class and the teacher has other classes, or there is no teacher.

        Args:
            classes: the student's, in label order.
        """
        if any(term.by_class for term in self.terms):
            self.teacher.check_classes(classes)
