"""Grad-CAM of real models: against class activation maps in closed form, and against finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sweeper import models
from sweeper.cell import Network
from sweeper.models.classifier import Classifier
from sweeper.probes.grad_cam import grad_cam

CNNS = {"cbr_mini": 32, "resnet10t": 64, "densenet121": 64}
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"


def build(model: str, size: int, **network: object) -> tuple[Classifier, Tensor]:
    """A drawn model in double precision and three images."""
    torch.manual_seed(0)
    made = models.build(Network(model=model, **network), classes=4, size=size).double().eval()  # type: ignore[arg-type]
    return made, torch.randn(3, 3, size, size, dtype=torch.float64)


def output(model: Classifier, images: Tensor, block: int, push: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """The logits, and a block's output after something was added to it."""
    kept: list[Tensor] = []

    def hook(module: object, given: object, values: Tensor) -> Tensor:
        kept.append(values + push)
        return kept[0]

    handle = model.get_submodule(models.blocks(model, "block")[block - 1].tap).register_forward_hook(hook)
    with torch.inference_mode():
        logits = model(images)
    handle.remove()
    return logits, kept[0]


@pytest.mark.parametrize("name", CNNS)
def test_at_the_last_block_of_a_network_that_pools_it_is_the_class_activation_map(name: str) -> None:
    model, images = build(name, CNNS[name])
    logits, last = output(model, images, len(models.blocks(model, "block")))
    found = grad_cam(model, images, grain="block")
    weights = model.head.weight[logits.argmax(dim=1)]  # (images, channels): Zhou et al. 2016, eq. 2
    wanted = np.einsum("nchw,nc->nhw", last.numpy(), weights.detach().numpy()).clip(0) / last[0, 0].numel()
    np.testing.assert_allclose(found.maps, wanted, rtol=1e-5, atol=1e-9)
    assert found.block == len(models.blocks(model, "block"))
    np.testing.assert_array_equal(found.predicted, logits.argmax(dim=1).numpy())


@pytest.mark.parametrize(
    ("name", "size", "block", "depth"), [("cbr_mini", 16, 2, None), (VIT, 32, 1, 2), (SWIN, 32, 1, 2)]
)
def test_at_any_block_a_weight_is_what_the_score_gains_where_its_channel_is_raised_everywhere(
    name: str, size: int, block: int, depth: int | None
) -> None:
    model, images = build(name, size, depth=depth)
    found = grad_cam(model, images[:1], grain="block", block=block, classes=torch.tensor([2]))
    given = output(model, images[:1], block)[1]
    values = models.spread(model, given)[0]  # (places, channels)
    places, channels = values.shape
    step = 1e-5
    pushes = torch.cat([_push(model, given, channel, step) for channel in range(channels)])
    copies = images[:1].expand(channels, -1, -1, -1)
    up, down = (output(model, copies, block, push=sign * pushes)[0][:, 2] for sign in (1, -1))
    wanted = (values @ ((up - down) / (2 * step) / places)).numpy().clip(0)
    assert wanted.any()
    np.testing.assert_allclose(found.maps.reshape(-1), wanted, rtol=1e-4, atol=1e-5 * wanted.max())
    assert found.classes == 2


def _push(model: Classifier, given: Tensor, channel: int, step: float) -> Tensor:
    """A step in one channel at every place of a block's output, and at no class token."""
    push = torch.zeros_like(given)
    if model.trunk.layout == "map":
        push[:, channel] = step
    else:
        first = model.trunk.class_tokens if given.ndim == 3 else 0
        push[:, first:, ..., channel] = step
    return push


def test_of_a_model_that_scores_its_class_token_the_last_block_with_places_is_before_the_last_attention() -> None:
    model, images = build(VIT, 48, depth=4)
    found = grad_cam(model, images, grain="block")
    assert (found.block, found.maps.shape) == (3, (3, 3, 3))
    names = [block.name for block in models.blocks(model, "layer")]
    assert names[grad_cam(model, images, grain="layer").block - 1] == "blocks.2.mlp"


def test_a_block_behind_the_last_attention_is_refused_where_the_class_token_is_scored() -> None:
    model, images = build(VIT, 48, depth=4)
    with pytest.raises(ValueError, match="the scores of 'vit_tiny_patch16_224' depend on no place behind block 4"):
        grad_cam(model, images, grain="block", block=4)


def test_a_block_that_gives_a_vector_is_passed_over_and_refused_by_number() -> None:
    model, images = build("alexnet", 64)
    assert grad_cam(model, images, grain="block").block == 5
    with pytest.raises(ValueError, match="block 6 of 'alexnet' gives one vector an image"):
        grad_cam(model, images, grain="block", block=6)


def test_a_block_that_there_is_not_is_refused() -> None:
    model, images = build("cbr_mini", 16)
    with pytest.raises(ValueError, match="block 5 is none of the 4 blocks of 'cbr_mini'"):
        grad_cam(model, images, grain="block", block=5)


@pytest.mark.parametrize(("name", "size"), [("cbr_mini", 32), (SWIN, 64), ("alexnet", 64)])
def test_no_map_depends_on_the_other_images_and_the_model_is_left_as_it_was(name: str, size: int) -> None:
    model, images = build(name, size)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    together = grad_cam(model, images, grain="block", block=2)
    alone = grad_cam(model, images[1:2], grain="block", block=2)
    np.testing.assert_allclose(together.maps[1:2], alone.maps, rtol=1e-6, atol=1e-12)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_block_whose_output_is_changed_in_place_afterwards_is_taken_as_it_was() -> None:
    model, images = build("resnet10t", 64)
    plain = grad_cam(model, images, grain="block", block=3)
    tap = model.get_submodule(models.blocks(model, "block")[2].tap)
    handle = tap.register_forward_hook(lambda module, given, values: values * 1.0)
    follower = model.get_submodule(models.blocks(model, "block")[3].tap)
    second = follower.register_forward_pre_hook(lambda module, given: (given[0].mul_(1.0),))
    np.testing.assert_array_equal(grad_cam(model, images, grain="block", block=3).maps, plain.maps)
    handle.remove()
    second.remove()
