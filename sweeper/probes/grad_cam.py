"""Grad-CAM (Selvaraju et al. 2017): where in an image the evidence for a class lies, at any block of any model.

Nothing is drawn here, and which images and classes are asked of is the caller's to say.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeper import models
from sweeper.models import Grain
from sweeper.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class Cams:
    """Maps of some images."""

    maps: npt.NDArray[np.float32]
    """(images, height, width) in places of the block, >= 0, in units of the score; neither scaled nor enlarged."""
    classes: npt.NDArray[np.int64]
    """(images,): which one each map is of."""
    predicted: npt.NDArray[np.int64]
    """(images,): the class with the highest score, the first of equals."""
    block: int
    """Whose output was weighed, from 1."""


def grad_cam(
    model: Classifier, inputs: Tensor, *, grain: Grain, block: int | None = None, classes: Tensor | None = None
) -> Cams:
    """ReLU(sum_k w_k A_k) with w_k the mean over places of the gradient of the class's score (a logit) by A_k.

    Equations 1 and 2 of Selvaraju et al. 2017, A being the block's output: channels of a map or grid, or features of
    the tokens, those of classes left out. What follows the block is taken in evaluation mode, so that no image's map
    depends on others. Under a head that takes the mean over places, that of the last block is CAM (Zhou et al. 2016)
    without its negative part, divided by the number of places.

    Args:
        inputs: normalised images, (images, channels, height, width), on the model's device.
        block: from 1; None takes the last one whose places the scores depend on. Of a model that scores the class token
            alone, the other tokens behind the last attention are seen by nothing.
        classes: int64 (images,); None takes the predicted ones.

    Raises:
        ValueError: a block that there is not, that gives one vector an image, or whose places no score depends on.
    """
    logits, outputs = _run(model, inputs, grain)
    predicted = logits.argmax(dim=1)
    asked = predicted if classes is None else classes.to(predicted.device)
    if block is not None and not 1 <= block <= len(outputs):
        raise ValueError(f"block {block} is none of the {len(outputs)} {grain}s of '{model.network.model}'")
    wanted = range(len(outputs), 0, -1) if block is None else [block]
    score = logits.gather(1, asked[:, None]).sum()  # an image's own depends on its own outputs alone
    slopes = torch.autograd.grad(score, [outputs[each - 1] for each in wanted], allow_unused=True)
    for number, slope in zip(wanted, slopes, strict=True):
        if slope is not None and slope.ndim > 2 and models.spread(model, slope).any():
            maps = _maps(models.spread(model, outputs[number - 1]), models.spread(model, slope))
            return Cams(maps=maps, classes=_numpy(asked), predicted=_numpy(predicted), block=number)
    raise ValueError(_reason(model, grain, block, outputs))


def _run(model: Classifier, inputs: Tensor, grain: Grain) -> tuple[Tensor, Sequence[Tensor]]:
    """The logits, and the output of each block."""
    outputs: dict[int, Tensor] = {}
    taps = [models_block.tap for models_block in models.blocks(model, grain)]
    hooks = [model.get_submodule(tap).register_forward_hook(_keep(outputs, number)) for number, tap in enumerate(taps)]
    was_training = model.training
    with torch.enable_grad():
        logits = model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    model.train(was_training)
    return logits, [outputs[number] for number in range(len(taps))]


def _keep(outputs: dict[int, Tensor], number: int) -> Callable[[object, object, Tensor], Tensor]:
    def hook(module: object, given: object, output: Tensor) -> Tensor:
        outputs[number] = output
        return output.clone()  # what follows may work in place

    return hook


def _maps(values: Tensor, slopes: Tensor) -> npt.NDArray[np.float32]:
    """Of (images, places, features) each: the maps, on the square that the places are."""
    side = math.isqrt(values.shape[1])
    if side * side != values.shape[1]:
        raise ValueError(f"a block's {values.shape[1]} places are no square, and where they lie is not known")
    weights = slopes.double().mean(dim=1)  # (images, features)
    maps = torch.einsum("npf,nf->np", values.double(), weights).relu()
    return maps.unflatten(1, (side, side)).detach().float().cpu().numpy()


def _reason(model: Classifier, grain: Grain, block: int | None, outputs: Sequence[Tensor]) -> str:
    name = model.network.model
    if block is None:
        return f"no {grain} of '{name}' has places that its scores depend on; take at='layer', which has more blocks"
    if outputs[block - 1].ndim == 2:
        return f"{grain} {block} of '{name}' gives one vector an image, which has no places; take an earlier one"
    return (
        f"the scores of '{name}' depend on no place behind {grain} {block} (of a model that scores its class token, "
        "none behind the last attention); take an earlier one, or leave at_block out"
    )


def _numpy(values: Tensor) -> npt.NDArray[np.int64]:
    return values.detach().cpu().numpy().astype(np.int64)
