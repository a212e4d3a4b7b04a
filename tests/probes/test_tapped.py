"""Blocks of convolutional nets, ViTs and Swins as a stored model taps them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sweeper import models
from sweeper.cell import Network
from sweeper.probes.draws import Draws
from sweeper.probes.samples import centred
from sweeper.probes.tapped import Tapped, gram

SIZES = {"resnet10t": 32, "vit_tiny_patch16_224": 32, "swin_tiny_patch4_window7_224": 56}


def tapped(folder: Path, model: str) -> tuple[Tapped, torch.Tensor]:
    torch.manual_seed(0)
    network = Network(model=model, depth=2)
    state = models.build(network, classes=2, size=SIZES[model]).state_dict()
    path = folder / "best.safetensors"
    save_file(state, path, metadata={"mean": json.dumps([0.5] * 3), "std": json.dumps([0.5] * 3)})
    images = torch.randint(0, 256, (4, 3, SIZES[model], SIZES[model]), dtype=torch.uint8)
    return Tapped(path, network, size=SIZES[model], device=torch.device("cpu")), images


@pytest.mark.parametrize("model", SIZES)
def test_both_grains_are_tapped_in_one_pass_and_end_in_what_the_head_takes(model: str, tmp_path: Path) -> None:
    own, images = tapped(tmp_path, model)
    found = own.see(images, {"block": [own.pooled, own.patches], "layer": [own.pooled]})
    assert {grain: len(blocks) for grain, blocks in found.items()} == {
        grain: len(models.blocks(own.model, grain)) for grain in ("block", "layer")
    }
    flow = images.float() / 127.5 - 1
    with torch.inference_mode():
        wanted = own.model.features(flow)
    for blocks in found.values():
        torch.testing.assert_close(blocks[-1][0], wanted, rtol=1e-4, atol=1e-5)
    assert all(each.shape == other.shape for each, other in found["block"])


def test_a_class_token_and_the_other_tokens_are_told_apart(tmp_path: Path) -> None:
    own, images = tapped(tmp_path, "vit_tiny_patch16_224")
    found = own.see(images, {"block": [lambda output: output, own.cls, own.patches]})["block"]
    for output, cls, patches in found:
        assert output.shape == (4, 5, 192)  # 2 x 2 patches of 16 pixels
        assert torch.equal(cls, output[:, 0])
        torch.testing.assert_close(patches, output[:, 1:].mean(dim=1))


@pytest.mark.parametrize("model", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_what_has_no_class_token_is_refused(model: str, tmp_path: Path) -> None:
    own, images = tapped(tmp_path, model)
    with pytest.raises(ValueError, match="has no class token; take features='pooled' or 'patches'"):
        own.see(images, {"block": [own.cls]})


def test_drawn_rows_do_not_depend_on_how_the_images_are_cut(tmp_path: Path) -> None:
    own, images = tapped(tmp_path, "vit_tiny_patch16_224")
    draws = Draws(seed=1, points=12, channels=8, draws=2)
    whole = own.see(images, {"block": [lambda output: own.rows_of(output, draws, first=0, images=4)]})["block"]
    cut = [
        own.see(
            images[first : first + 2],
            {"block": [lambda output, f=first: own.rows_of(output, draws, first=f, images=4)]},
        )
        for first in (0, 2)
    ]
    for block, kept in enumerate(whole):
        for draw, rows in enumerate(kept[0]):
            assert rows.shape == (12, 8)
            pieces = torch.cat([torch.from_numpy(each["block"][block][0][draw]) for each in cut])
            torch.testing.assert_close(torch.from_numpy(rows), pieces, rtol=1e-4, atol=1e-5)


def test_a_gram_matrix_made_by_bands_is_that_of_the_centred_features() -> None:
    features = torch.randn(6, 150_000, generator=torch.Generator().manual_seed(0))
    wanted = centred(features) @ centred(features).T
    torch.testing.assert_close(torch.from_numpy(gram(features)), wanted)
