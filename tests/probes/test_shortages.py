"""What probes are refused for before anything is trained, against what the code that computes them refuses."""

import subprocess
import sys

import pytest
import torch
from golden_layers import normal

from sweeper import Cca, Cka, Embedding, Knn, Procrustes, Transferability, models, shortages
from sweeper.cell import Cell, Network, make_cell
from sweeper.pairing import Ask
from sweeper.probe_types import Probe
from sweeper.probes import cca, cka
from sweeper.probes.drawn_cca import images_for
from sweeper.probes.embedding import plane
from sweeper.probes.transferability import h_score

MODELS = [("cbr_mini", 28), ("resnet10t", 64), ("vit_tiny_patch16_224", 32), ("swin_tiny_patch4_window7_224", 56)]


def told(probe: Probe, *, images: int = 10_000, task: str = "multiclass", **axes: object) -> list[str]:
    parts = dict.fromkeys(("train", "val", "test"), images)
    return list(shortages.shortages(Ask(probe=probe, cell=cell(**axes)), parts, task))


def cell(**axes: object) -> Cell:
    return make_cell(**{"dataset": "digits", "model": "resnet10t", "size": 64, "fold": 1} | axes)


def pair(probe: Probe, first: Cell, second: Cell) -> list[str]:
    ask = Ask(probe=probe, cell=first, other=second)
    return list(shortages.shortages(ask, dict.fromkeys(("train", "val", "test"), 10_000), "multiclass"))


@pytest.mark.parametrize("grain", ["block", "layer"])
@pytest.mark.parametrize(("model", "size"), MODELS)
def test_sizes_on_shapes_alone_are_those_of_a_pass(model: str, size: int, grain: models.Grain) -> None:
    network, found = Network(model=model, depth=2), []
    whole = models.build(network, classes=2, size=size).eval()
    for block in models.blocks(whole, grain):
        keep = found.append
        whole.get_submodule(block.tap).register_forward_hook(
            lambda module, inputs, output, keep=keep: keep(tuple(models.spread(whole, output).shape[1:]))
        )
    with torch.inference_mode():
        whole(torch.zeros(1, 3, size, size))
    assert shortages.sizes_of(network, grain, size) == tuple(found)


def test_the_fewest_images_are_those_of_the_measures_themselves() -> None:
    assert shortages.SAMPLES == cca.SAMPLES
    assert shortages.FEWEST == cka.FEWEST_IMAGES


def test_a_draw_of_more_images_than_are_shown_is_refused_with_the_block() -> None:
    # The last block of a ResNet at 64 px has 2 x 2 places: 10,000 points are 2500 images.
    (found,) = told(Cca(), images=1000)
    assert found.startswith("a draw of 10000 points takes 2500 images of block 4 of 'resnet10t' at 64 px (places: 4)")
    assert "at most 4000 points" in found
    assert told(Cca(points=4000), images=1000) == []
    assert images_for(4000, 2, 2) == 1000


def test_stimuli_are_what_counts_where_they_are_fewer() -> None:
    assert "and 20 are shown" in told(Cca(points=1000, stimuli=20))[0]
    assert told(Cca(points=1000, stimuli=250)) == []


def test_a_draw_of_fewer_places_than_cca_needs_is_refused_as_cca_refuses_them() -> None:
    (found,) = told(Cca(points=300, channels=64))
    block = "block 1 of 'resnet10t' at 64 px"
    assert found == f"a draw takes 256 places of {block}, and CCA needs 320 for 64 channels; draw more points"
    with pytest.raises(ValueError, match="needs 5 samples for each, there are 256"):
        cca.cca(normal(256, 64), normal(256, 64, seed=1))
    assert told(Cca(points=400, channels=64)) == []  # two images of 256 places, or more of fewer


@pytest.mark.parametrize("kind", ["mean", "pwcca"])
def test_pooled_cca_needs_five_images_a_feature(kind: str) -> None:
    (found,) = told(Cca(kind=kind), images=2559)  # type: ignore[arg-type]
    assert found == (
        "it needs 2560 images for 512 directions of block 4 of 'resnet10t' at 64 px, and 2559 are shown; show more, or "
        "take kind='svcca' with at most 511 directions"
    )
    assert told(Cca(kind=kind), images=2560) == []  # type: ignore[arg-type]


def test_svcca_of_more_directions_than_a_block_has_features_is_refused() -> None:
    assert told(Cca(kind="svcca", directions=65)) == [
        "directions=65 are more than the 64 features of block 1 of 'resnet10t' at 64 px; keep fewer"
    ]
    assert told(Cca(kind="svcca", directions=64)) == []
    assert told(Cca(kind="svcca", variance=0.9), images=7) == []  # only the outputs tell how many are kept


@pytest.mark.parametrize("probe", [Cka(estimator="minibatch", batch=64), Cka(estimator="batch_mean", batch=64), Cka()])
def test_cka_of_too_few_images_is_refused(probe: Cka) -> None:
    least = 4 if probe.estimator == "debiased" else 64
    assert told(probe, images=least) == []
    assert f"needs {least} images, and the val part" in told(probe, images=least - 1)[0]


def test_the_plain_h_score_needs_more_images_than_features_and_two_as_it_refuses_itself() -> None:
    (found,) = told(Transferability(), images=513)
    assert found == (
        "h_score needs 514 images for the 512 features of 'resnet10t', and 513 are shown; take 'h_score_shrunk' in its "
        "place, or show more"
    )
    assert told(Transferability(stimuli=513)) == [found]
    assert told(Transferability(), images=514) == []
    assert told(Transferability(scores=("logme", "h_score_shrunk")), images=5) == []
    labels = torch.arange(9) % 2
    with pytest.raises(ValueError, match=r"use shrink=True"):
        h_score(normal(9, 8), labels)
    assert 0 <= h_score(normal(9, 7), labels) <= 1


def test_a_plane_of_too_few_images_is_refused_as_it_refuses_them_itself() -> None:
    (found,) = told(Embedding(), images=11)
    assert found.startswith("it needs 12 images, and the test part of ")
    assert told(Embedding(), images=12) == []
    assert told(Embedding(method="tsne", neighbours=30), images=30)[0].startswith("it needs 31 images")
    assert told(Embedding(method="tsne", neighbours=30), images=31) == []
    for method, images in (("pca", 11), ("tsne", 15)):
        with pytest.raises(ValueError, match="needs"):
            plane(normal(images, 5), method=method, neighbours=15, seed=0)
        plane(normal(images + 1, 5), method=method, neighbours=15, seed=0)


def test_transferability_of_several_labels_an_image_is_refused() -> None:
    assert told(Transferability(), task="multilabel") == [
        "images of 'digits' have several labels, and its scores need one each"
    ]
    assert told(Transferability(), task="binary") == told(Knn(), task="multilabel") == []


def test_two_models_of_other_depths_are_compared_with_all_blocks_alone() -> None:
    first, second = cell(), cell(depth=2)
    for probe in (Cka(across="depth"), Procrustes(across="depth"), Cca(across="depth", points=500)):
        assert "compares a model of 4 blocks with one of 2" in pair(probe, first, second)[0]
    assert pair(Cka(across="depth", layers="all"), first, second) == []
    assert "of 5 blocks with one of 3" in pair(Cka(across="depth", at="layer"), first, second)[0]


def test_maps_of_other_sizes_have_no_places_in_common() -> None:
    across = Cca(across="model", points=500, channels=4)
    (found,) = pair(across, cell(model="resnet18"), cell(model="densenet121"))
    assert found == "block 1 has 256 places in one model and 64 in the other; take another kind"
    assert pair(across, cell(model="resnet18"), cell(model="resnet34")) == []


def test_a_probe_that_depends_on_no_shapes_is_judged_without_torch() -> None:
    code = (
        "import sys; from sweeper.cell import make_cell; from sweeper.pairing import Ask; from sweeper import Cka\n"
        "from sweeper.shortages import shortages\n"
        "cell = make_cell(dataset='digits', model='resnet50')\n"
        "assert not list(shortages(Ask(probe=Cka(), cell=cell), {'val': 9}, 'multiclass'))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
