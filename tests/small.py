"""Small networks and a small real image set, which tests train in a second."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sweeper import models
from sweeper.cell import Images, Network, Recipe
from sweeper.data.loading import Loaded, load
from sweeper.finetune.course import Course
from sweeper.finetune.loop import epochs
from sweeper.finetune.optim import freeze_blocks
from sweeper.finetune.view import View
from sweeper.models.classifier import Classifier
from sweeper.outcome import Epoch
from sweeper.site import Site

VIEW = View(mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu"))
CLASSES = 5


def small_data(folder: Path, **images: Any) -> Loaded:
    """The 8 x 8 digits 0 to 4, of which 30 % of the training images."""
    site = Site(data=folder, cache=folder / "cache", storage=folder, tracking="")
    return load(Images(**{"dataset": "digits_0_4", "fold": 1, "size": 8, "fraction": 0.3} | images), site)


def plain_network(dropout: float = 0.0) -> nn.Module:
    """Without batch norm, so that an image's loss does not depend on the others of its batch."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(256, CLASSES))


def classifier(depth: int = 2, frozen: int = 0, seed: int = 0, **network: Any) -> tuple[Classifier, list[nn.Module]]:
    """A small convolutional net with batch norm, and its frozen modules."""
    torch.manual_seed(seed)
    made = Network(model="cbr_mini", depth=depth, **network)
    model = models.build(made, classes=CLASSES, channels=3, size=8)
    return model, freeze_blocks(model, made, frozen)


def shaken(model: nn.Module) -> nn.Module:
    """The model to be evaluated, its norm layers with values that no fresh model has, so that no residual branch is
    zero."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return model.eval()


def train(model: nn.Module, data: Loaded, recipe: Recipe, *, lr: float = 3e-3, **more: Any) -> list[Epoch]:
    """All epochs of a training with seed 5."""
    return list(epochs(model, data, recipe, lr=lr, seed=5, view=VIEW, **{"augment": "flip_shift"} | more))


def begin(model: nn.Module, recipe: Recipe, lr: float = 3e-3) -> Course:
    """The course that `train` begins with."""
    return Course.begin(model, recipe, lr, 5)


def weights_of(model: nn.Module) -> torch.Tensor:
    """All of a model's tensors in one."""
    return torch.cat([each.detach().flatten() for each in model.state_dict().values()])


def numbers(done: list[Epoch]) -> list[tuple[Any, ...]]:
    """What of epochs does not depend on the time."""
    return [(epoch.number, epoch.train_loss, epoch.scores, epoch.lr, epoch.phase) for epoch in done]
