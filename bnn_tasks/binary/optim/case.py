"""Binary weights and real parameters under two optimisers that look like one."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class CaseOptimizer(Optimizer):
    """Binary (latent) weights to one optimiser, all other parameters to another (larq's CaseOptimizer, Geiger et al., 2020).

    To everything around it, Lightning, schedules, gradient clipping, checkpoints, it is one optimiser: ``param_groups`` and
    ``state`` are those of its members, so a schedule's factor multiplies each member's own learning rate. Groups that hold
    binary weights say ``"latent": True``. In a config:

        optimizer:
          class_path: CaseOptimizer
          init_args:
            binary: {class_path: Bop, init_args: {lr: 1.0e-4}}
            real: {class_path: torch.optim.Adam, init_args: {lr: 1.0e-3}}

    Args:
        params: parameter groups.
        binary: groups -> optimiser of the latent ones.
        real: groups -> optimiser of the others.

    Attributes:
        members: the two optimisers.

    Raises:
        ValueError: no group is latent, or all are.
    """

    def __init__(
        self,
        params: Iterable[Any],
        binary: Callable[[Iterable], Optimizer],
        real: Callable[[Iterable], Optimizer],
    ) -> None:
        cases: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for group in params:
            if not isinstance(group, dict):
                raise ValueError(
                    f"Expected `params` to be groups, dictionaries with 'params' and 'latent', but got {type(group).__name__}. "
                    "Cure: bnn_tasks.tasks.optim.parameter_groups(module)."
                )
            group = {**group, "params": list(group["params"])}
            cases[not group.get("latent", False)].append(group)
        for name, groups in zip(("latent", "real"), cases):
            if not any(group["params"] for group in groups):
                raise ValueError(
                    f"Expected latent binary weights and real parameters, but got no {name} ones. "
                    "Cure: a net with both, or one plain optimiser."
                )
        self.members = (binary(cases[0]), real(cases[1]))
        # The members' own group dictionaries: what a schedule writes into them, the members read.
        super().__init__([group for member in self.members for group in member.param_groups], {})
        self._share()

    def _share(self) -> None:
        first = len(self.members[0].param_groups)
        self.members[0].param_groups = self.param_groups[:first]
        self.members[1].param_groups = self.param_groups[first:]
        for member in self.members:
            member.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Torch's load_state_dict puts new groups and a new state into the optimiser by this method.
        super().__setstate__(state)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "members": self.members}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take a member's group; used while the optimiser is built.

        Args:
            param_group: of a member.

        Raises:
            ValueError: it is no member's.
        """
        if not any(param_group is group for member in self.members for group in member.param_groups):
            raise ValueError(
                "Expected all parameter groups when CaseOptimizer is built, but got another one. Cure: a new CaseOptimizer."
            )
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step both.

        Args:
            closure: computes the loss and the gradients anew.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member in self.members:
            member.step()
        return loss
