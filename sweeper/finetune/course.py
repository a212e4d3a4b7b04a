"""What a training has come to: everything but the model that its next step depends on, kept and put back.

Who keeps it, and when, is decided elsewhere.
"""

import copy
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import nn

from sweeper.cell import Recipe, seed_of
from sweeper.finetune.optim import SHARE, make_optimizer
from sweeper.finetune.schedules import Plateau


@dataclass(kw_only=True, eq=False)
class Course:
    """What a training has come to: everything but the model that the next validation depends on."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Of `fp16`; it does nothing at other precisions."""
    shuffle: torch.Generator
    """Draws the order of the images."""
    change: torch.Generator
    """Draws the augmentation."""
    done: int = 0
    """Validations that are finished."""
    order: torch.Tensor | None = None
    """Of the images in the epoch under way, int64 (images,); None between two epochs."""
    plateau: Plateau = field(default_factory=Plateau)

    @classmethod
    def begin(cls, model: nn.Module, recipe: Recipe, lr: float, seed: int) -> Self:
        """The course before the first step."""
        device = next(model.parameters()).device.type
        return cls(
            optimizer=make_optimizer(model, recipe, lr),
            scaler=torch.amp.GradScaler(device, enabled=recipe.amp == "fp16"),
            shuffle=torch.Generator().manual_seed(seed_of("order", seed)),
            change=torch.Generator().manual_seed(seed_of("augment", seed)),
        )

    def begin_step(self, rate: float) -> None:
        """Drops the last step's gradients, and gives each group of parameters its share of the rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group[SHARE]
        self.optimizer.zero_grad(set_to_none=True)

    def end_step(self, longest: float | None) -> None:
        """Moves the parameters by the gradients, scaled down where the norm of all together is above `longest`."""
        if longest is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters(), longest)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """A copy in plain values and CPU tensors, of use after a validation alone, the same in every process.

        `torch.load(weights_only=True)` reads what `torch.save` wrote of it.
        """
        moments = self.optimizer.state_dict()["state"]
        return {
            "done": self.done,
            "order": _copied(self.order),
            "plateau": asdict(self.plateau),
            "scaler": self.scaler.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "change": self.change.get_state(),
            "moments": {index: {name: _copied(value) for name, value in of.items()} for index, of in moments.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts this course where `state` was taken; the model's weights are the caller's to put back.

        Raises:
            ValueError: when the state belongs to other parameters than the optimizer's.
        """
        parameters = self._parameters()
        for index, held in state["moments"].items():
            shapes = {value.shape for value in held.values() if isinstance(value, torch.Tensor) and value.ndim}
            if index >= len(parameters) or shapes - {parameters[index].shape}:
                raise ValueError(
                    f"the state of parameter {index} does not fit the network's {len(parameters)} trained parameters; "
                    "restore the state of a training of this very network"
                )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": copy.deepcopy(state["moments"]), "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        self.shuffle.set_state(state["shuffle"])
        self.change.set_state(state["change"])
        self.plateau = Plateau(**state["plateau"])
        self.order, self.done = state["order"], state["done"]

    def _parameters(self) -> list[nn.Parameter]:
        return [each for group in self.optimizer.param_groups for each in group["params"]]


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
