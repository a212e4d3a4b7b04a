"""What a frozen backbone makes of images, computed once: for all epochs, and from disk for every rate and seed as well.

Which epochs that saves is the loop's to ask; a backbone that learns, or images that change, have no features here.
Features may differ in the last bit from those of another batch size, because sums are then taken in another order.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from sweeper.data.loading import HELD_BYTES, Held, Part, Viewed
from sweeper.finetune.group import place
from sweeper.finetune.view import View, forward, train_mode
from sweeper.models.classifier import Classifier
from sweeper.work import write_whole

_FORMAT = 1
"""Raise it whenever features of the same images come out otherwise, so that older files are not read."""
_OF_THE_HEAD = ("dropout", "head_start")
"""Fields of a network that its features do not depend on."""


class Head(nn.Module):
    """A classifier that is given features in place of images."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits, (images, classes)."""
        return self.classifier.logits(features)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where the features of one image set are kept."""

    folder: Path
    fingerprint: str
    """The image set's."""


def is_fixed(model: nn.Module, parts: Sequence[Part], view: View, frozen: Sequence[nn.Module]) -> TypeGuard[Classifier]:
    """Whether the backbone gives an image the same features in every epoch, and there is room for those of all parts.

    Args:
        frozen: modules that are kept in evaluation mode.
    """
    if not isinstance(model, Classifier) or place()[1] > 1:
        return False
    kept = {id(buffer) for module in frozen for buffer in module.buffers()}
    if any(each.requires_grad for each in model.backbone.parameters()):
        return False
    if any(isinstance(part, Viewed) for part in parts):  # what is kept is of images as they are
        return False
    if any(id(buffer) not in kept for buffer in model.backbone.buffers()):
        return False
    if 4 * model.head.in_features * sum(map(len, parts)) > HELD_BYTES:
        return False
    images = parts[0].tensor(np.arange(len(parts[0]))[:8])
    train_mode(model, frozen)
    with torch.no_grad():  # equal, unless something like dropout lies outside the frozen modules
        training = forward(model.features, images, view)
        return torch.equal(training, forward(model.eval().features, images, view))


def see_once(model: Classifier, part: Part, view: View, batch: int, shelf: Shelf | None) -> Held:
    """The part with the backbone's features, float32, in place of its images.

    Args:
        batch: images that are in memory at once.
        shelf: where they are read from, if some process has seen these images through this very backbone, and else
            left; several processes may ask at once: one computes, the others wait. None keeps nothing.
    """
    if shelf is None:
        return Held(**vars(part), inputs=_features(model, part, view, batch))
    shape = (len(part), model.head.in_features)
    path = shelf.folder / f"{_digest(model, part, view, batch, shelf)}.f32"
    if not path.exists():
        shelf.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                found = _features(model, part, view, batch).cpu().numpy()
                write_whole(path, found.tobytes())
    held = np.memmap(path, dtype=np.float32, mode="c", shape=shape)  # c: what is read-only makes torch warn
    return Held(**vars(part), inputs=torch.from_numpy(held).to(view.device))


def _features(model: Classifier, part: Part, view: View, batch: int) -> torch.Tensor:
    chunks = np.array_split(np.arange(len(part)), math.ceil(len(part) / batch))
    model.eval()
    with torch.no_grad():  # what is made in inference mode cannot train a head
        return torch.cat([forward(model.features, part.tensor(chunk), view).float() for chunk in chunks])


def _digest(model: Classifier, part: Part, view: View, batch: int, shelf: Shelf) -> str:
    """32 hex digits of everything that the features' bits depend on."""
    found = hashlib.sha256()
    for piece in _told(model, part, view, batch, shelf):
        found.update(piece)
    return found.hexdigest()[:32]


def _told(model: Classifier, part: Part, view: View, batch: int, shelf: Shelf) -> Iterator[bytes]:
    network = {name: value for name, value in asdict(model.network).items() if name not in _OF_THE_HEAD}
    anywhere = replace(view, device=torch.device(view.device.type))
    yield json.dumps([_FORMAT, network, repr(anywhere), batch, shelf.fingerprint, *_machine(view)]).encode()
    yield part.rows.tobytes()
    for name, tensor in model.backbone.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        yield f"{name} {values.dtype} {tuple(values.shape)}".encode()
        yield values.numpy().tobytes()


def _machine(view: View) -> tuple[str, str]:
    """What decides in which order sums are taken: torch and the processor."""
    if view.device.type == "cuda":
        return torch.__version__, torch.cuda.get_device_name(view.device)
    return torch.__version__, torch.backends.cpu.get_cpu_capability()
