"""Copying, drawing and leaving, against the source's tensors, their statistics by numpy, and scipy's normality test."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sweeper import models, weights
from sweeper.cell import Network, Weights
from sweeper.models import Grain
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights.drawing import draw_like
from sweeper.weights.pouring import pour_state
from sweeper.weights.report import LoadReport

SOURCE = "file:/a/state.safetensors"
# name, grain, number of blocks
FAMILIES: list[tuple[str, Grain, int]] = [
    ("resnet10t", "layer", 5),
    ("resnet10t", "block", 4),
    ("cbr_mini", "block", 4),
]


def _build(model: str, *, depth: int | None = None, grain: Grain = "block", seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return models.build(Network(model=model, depth=depth, grain=grain), classes=2)


@lru_cache
def _source(model: str) -> dict[str, Tensor]:
    """A whole backbone's state, every tensor unlike a fresh one, each with a mean and an sd of its own, plus a head."""
    generator = torch.Generator().manual_seed(11)
    state = {}
    for number, (name, tensor) in enumerate(_build(model, seed=9).backbone.state_dict().items()):
        shift, spread = 0.02 * (number % 7 - 3), 0.1 + 0.03 * (number % 5)
        state[name] = (torch.randn(tensor.shape, generator=generator) * spread + shift).to(tensor.dtype)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(100 + number)
        if name.endswith("running_var"):
            state[name] = state[name].abs() + 0.1
    return state | {"fc.weight": torch.zeros(1000, 8)}


def _pour(model: Classifier, seed: int = 0, **values: object) -> LoadReport:
    name = model.network.model
    return pour_state(Weights(**{"source": SOURCE, **values}), model, _source(name), seed=seed)  # type: ignore[arg-type]


def _keys(model: Classifier, first: int, last: int | None = None) -> list[str]:
    blocks = models.blocks(model, model.network.grain)[first:last]
    return [key for block in blocks for key in models.block_keys(model, block)]


def _weight_keys(model: Classifier) -> list[str]:
    """Of convolutions: in these models all that are neither norm layers' nor the head's."""
    return [
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        for own in module.state_dict()
    ]


def _equal(model: Classifier, state: dict[str, Tensor], keys: list[str]) -> bool:
    own = model.state_dict()
    return len(keys) > 0 and all(torch.equal(own[key], state[key]) for key in keys)


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("name", "grain", "_count"), FAMILIES)
def test_a_full_copy_equals_the_source_tensor_by_tensor(name: str, grain: Grain, _count: int) -> None:
    model = _build(name, grain=grain)
    _pour(model)
    assert _equal(model, _prefixed(_source(name)), _keys(model, 0))


@pytest.mark.parametrize(("name", "grain", "count"), FAMILIES)
@pytest.mark.parametrize("first", [1, 2, 4])
def test_the_first_blocks_are_copied(name: str, grain: Grain, count: int, first: int) -> None:
    model = _build(name, grain=grain)
    _pour(model, blocks=first)
    assert _equal(model, _prefixed(_source(name)), _keys(model, 0, first))


@pytest.mark.parametrize(("name", "grain", "count"), FAMILIES)
@pytest.mark.parametrize("first", [0, 1, 3])
def test_with_a_random_rest_the_other_blocks_keep_their_start(name: str, grain: Grain, count: int, first: int) -> None:
    model, start = _build(name, grain=grain), _build(name, grain=grain).state_dict()
    _pour(model, blocks=first)
    assert _equal(model, start, _keys(model, first))


@pytest.mark.parametrize(("name", "grain", "count"), FAMILIES)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_cut_model_receives_the_whole_sources_values(name: str, grain: Grain, count: int, depth: int) -> None:
    model = _build(name, depth=depth, grain=grain)
    _pour(model)
    assert _equal(model, _prefixed(_source(name)), _keys(model, 0))


@pytest.mark.parametrize("rest", ["random", "stats"])
@pytest.mark.parametrize("blocks", [None, 0, 2])
def test_the_head_is_never_touched(rest: str, blocks: int | None) -> None:
    model, start = _build("cbr_mini"), _build("cbr_mini").state_dict()
    _pour(model, rest=rest, blocks=blocks)
    assert _equal(model, start, ["head.weight", "head.bias"])


def test_pouring_leaves_torchs_generator_alone() -> None:
    model, source = _build("cbr_mini"), _source("cbr_mini")
    before = torch.get_rng_state()
    pour_state(Weights(source=SOURCE, rest="stats", blocks=0), model, source, seed=0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_drawn_tensors_have_the_sources_mean_within_sampling_error(name: str) -> None:
    model, source = _build(name), _prefixed(_source(name))
    _pour(model, rest="stats", blocks=0)
    scores = [
        (model.state_dict()[key].double().mean().item() - np.mean(source[key].numpy(), dtype=np.float64))
        / (np.std(source[key].numpy(), ddof=1, dtype=np.float64) / math.sqrt(source[key].numel()))
        for key in _weight_keys(model)
    ]
    assert max(map(abs, scores)) < 4
    assert scipy.stats.kstest(scores, "norm").pvalue > 0.001


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_drawn_tensors_have_the_sources_sd_within_sampling_error(name: str) -> None:
    model, source = _build(name), _prefixed(_source(name))
    _pour(model, rest="stats", blocks=0)
    for key in _weight_keys(model):
        degrees = source[key].numel() - 1
        ratio = model.state_dict()[key].double().var().item() / np.var(source[key].numpy(), ddof=1, dtype=np.float64)
        below = scipy.stats.chi2.cdf(ratio * degrees, degrees)
        assert 1e-5 < below < 1 - 1e-5, key


def test_drawn_values_are_gaussian() -> None:
    values = draw_like(torch.tensor([-1.0, 1.0]).expand(5000, 2), "two values")  # nothing of the source's own shape
    assert scipy.stats.kstest(values.flatten(), "norm").pvalue > 0.001


def test_a_mean_is_that_of_the_whole_tensor_not_of_each_channel() -> None:
    channels = torch.tensor([-1.0, 1.0]).repeat_interleave(5000).reshape(2, 5000)
    drawn = draw_like(channels, "two channels")
    assert drawn.mean(1).abs().max() < 4 / math.sqrt(5000)


def test_draws_of_different_tensors_are_independent() -> None:
    like = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    pair = torch.stack([draw_like(like, "one"), draw_like(like, "other")])
    assert abs(torch.corrcoef(pair)[0, 1]) < 4 / math.sqrt(20000)


def test_the_sd_of_few_values_is_the_unbiased_one() -> None:
    pair = torch.tensor([0.0, 2.0])
    drawn = torch.cat([draw_like(pair, str(number)) for number in range(5000)])
    assert drawn.var().item() == pytest.approx(2, abs=4 * 2 * math.sqrt(2 / 10000))


def test_a_single_value_is_drawn_as_itself() -> None:
    assert draw_like(torch.tensor([0.75]), "one value").tolist() == [0.75]


def test_a_constant_tensor_is_drawn_as_itself() -> None:
    assert draw_like(torch.full((2, 3), 0.25), "constant").tolist() == [[0.25] * 3] * 2


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_norm_layers_of_drawn_blocks_are_reset(name: str) -> None:
    model = _build(name)
    _pour(model)  # so that there is something to reset
    _pour(model, rest="stats", blocks=0)
    expected = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) >= 4
    assert all((norm.state_dict()[own] == value).all() for norm in norms for own, value in expected.items())


def test_norm_layers_of_copied_blocks_are_the_sources() -> None:
    model = _build("cbr_mini")
    _pour(model, rest="stats", blocks=2)
    norms = [key for key in _keys(model, 0, 2) if ".bn." in key]
    assert _equal(model, _prefixed(_source("cbr_mini")), norms)


@pytest.mark.parametrize(("name", "grain", "count"), FAMILIES)
@pytest.mark.parametrize("first", [1, 3])
def test_every_number_of_copied_blocks_shares_the_draws(name: str, grain: Grain, count: int, first: int) -> None:
    none, some = _build(name, grain=grain), _build(name, grain=grain, seed=5)
    _pour(none, rest="stats", blocks=0)
    _pour(some, rest="stats", blocks=first)
    assert _equal(some, none.state_dict(), _keys(some, first))


@pytest.mark.parametrize(("name", "grain", "count"), FAMILIES)
def test_every_depth_shares_the_draws(name: str, grain: Grain, count: int) -> None:
    whole, cut = _build(name, grain=grain), _build(name, depth=3, grain=grain, seed=5)
    _pour(whole, rest="stats", blocks=0)
    _pour(cut, rest="stats", blocks=1)
    assert _equal(cut, whole.state_dict(), _keys(cut, 1))


def test_both_grains_share_the_draws() -> None:
    coarse, fine = _build("resnet10t", grain="block"), _build("resnet10t", grain="layer", seed=5)
    _pour(coarse, rest="stats", blocks=0)
    _pour(fine, rest="stats", blocks=0)
    assert _equal(fine, coarse.state_dict(), _keys(fine, 0))


@pytest.mark.parametrize("other", [{"seed": 1}, {"source": "file:/another/state.safetensors"}])
def test_another_seed_or_source_draws_otherwise(other: dict[str, object]) -> None:
    one, two = _build("cbr_mini"), _build("cbr_mini")
    _pour(one, rest="stats", blocks=0)
    _pour(two, rest="stats", blocks=0, **other)  # type: ignore[arg-type]
    assert not any(torch.equal(one.state_dict()[key], two.state_dict()[key]) for key in _weight_keys(one))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # cbr_mini: 4 blocks, each with 2 convolution and 5 norm tensors
        ({}, {"loaded": 28}),
        ({"norms": "reset"}, {"loaded": 8, "reset": 20}),
        ({"blocks": 1}, {"loaded": 7, "left": 21}),
        ({"blocks": 0}, {"left": 28}),
        ({"blocks": 1, "rest": "stats"}, {"loaded": 7, "drawn": 6, "reset": 15}),
    ],
)
def test_the_report_counts_every_backbone_tensor_once(values: dict[str, object], expected: dict[str, int]) -> None:
    counts = _pour(_build("cbr_mini"), **values).counts()
    assert counts == expected | {"unexpected": 1}  # the source's head


def test_the_report_names_what_became_of_each_tensor() -> None:
    report = _pour(_build("cbr_mini"), blocks=3, rest="stats")
    assert report.drawn == ("block4.conv.weight", "block4.conv.bias")
    assert report.unexpected == ("fc.weight",)
    assert "block3.bn.running_var" in report.loaded
    assert "block4.bn.running_var" in report.reset


@pytest.mark.parametrize("values", [{}, {"rest": "stats", "blocks": 0}])
def test_missing_tensors_are_counted_and_named(values: dict[str, object]) -> None:
    source = {name: tensor for name, tensor in _source("cbr_mini").items() if not name.startswith("block3.conv")}
    with pytest.raises(ValueError, match=r"2 of \d+ are missing \(block3\.conv\.weight, block3\.conv\.bias\)"):
        pour_state(Weights(source=SOURCE, **values), _build("cbr_mini"), source, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{}, {"rest": "stats", "blocks": 0}])
def test_a_tensor_of_another_shape_is_named_with_both(values: dict[str, object]) -> None:
    source = _source("cbr_mini") | {"block2.conv.bias": torch.zeros(31)}
    with pytest.raises(ValueError, match=r"1 of \d+ have another shape \(block2\.conv\.bias \(31,\) for \(32,\)\)"):
        pour_state(Weights(source=SOURCE, **values), _build("cbr_mini"), source, seed=0)  # type: ignore[arg-type]


def test_a_source_of_another_model_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"28 of 28 are missing \(.*, \.\.\.\); name a source made with this model"):
        pour_state(Weights(source=SOURCE), _build("cbr_mini"), _source("resnet10t"), seed=0)


def test_a_refused_source_leaves_the_model_as_it_was() -> None:
    model, start = _build("cbr_mini"), _build("cbr_mini").state_dict()
    with pytest.raises(ValueError, match="does not fit"):
        pour_state(Weights(source=SOURCE), model, _source("cbr_mini") | {"block4.bn.bias": torch.zeros(1)}, seed=0)
    assert _equal(model, start, list(start))


def test_tensors_that_are_asked_of_nobody_may_be_missing() -> None:
    source = {name: tensor for name, tensor in _source("cbr_mini").items() if name.startswith("block1.")}
    model = _build("cbr_mini")
    pour_state(Weights(source=SOURCE, blocks=1), model, source, seed=0)
    assert _equal(model, _prefixed(source), _keys(model, 0, 1))


@pytest.mark.parametrize("blocks", [-1, 4])
def test_more_blocks_than_the_cut_model_has_are_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match=f"blocks is {blocks}, but 'cbr_mini' as it is cut here has 3 blocks"):
        _pour(_build("cbr_mini", depth=3), blocks=blocks)


def test_the_random_source_leaves_everything(site: Site) -> None:
    model, start = _build("cbr_mini"), _build("cbr_mini").state_dict()
    assert weights.pour(Weights(), model, seed=0, site=site).counts() == {"left": 28}
    assert _equal(model, start, list(start))


def test_a_file_is_poured_by_its_path(tmp_path: Path, site: Site) -> None:
    save_file(_source("cbr_mini"), tmp_path / "state.safetensors")
    model = _build("cbr_mini", depth=2)
    poured = weights.pour(Weights(source=f"file:{tmp_path}/state.safetensors"), model, seed=0, site=site)
    assert poured.counts() == {"loaded": 14, "unexpected": 1}
    assert _equal(model, _prefixed(_source("cbr_mini")), _keys(model, 0))


def test_weights_that_cannot_serve_are_refused_before_anything_is_read(site: Site) -> None:
    with pytest.raises(ValueError, match="source 'imagenet' has no weights for 'cbr_mini'"):
        weights.pour(Weights(source="imagenet"), _build("cbr_mini"), seed=0, site=site)
