"""Any other timm model, cut between the depth groups that timm knows of it.

Nothing is assumed of its forward pass: what lies behind the cut is replaced by modules that let everything pass, and a
model is built only where that gives exactly what the whole model has at that place. No pretrained weights here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.cell import Network
from sweeper.models import swin, vit
from sweeper.models.block import Block
from sweeper.models.groups import Groups, Run, count_layers, find_groups, find_taps, make_group, record, tensor_names
from sweeper.models.halves import list_blocks
from sweeper.models.info import Grain, ModelInfo
from sweeper.models.shapes import find_inner, find_pooling
from sweeper.models.trunk import Layout, Pool, Trunk, pooled

_GRAINS: tuple[Grain, Grain] = ("block", "layer")


class Passing(nn.Module):
    """Stands where something was cut away: its first input comes out again."""

    def forward(self, hidden: Any, *_others: Any, **_settings: Any) -> Any:
        """The first input, whatever else the module that stood here was given."""
        return hidden


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What one forward pass shows of a whole model."""

    groups: dict[Grain, Groups]
    taps: dict[Grain, list[str]]
    run: Run
    layout: Layout
    pool: Pool
    width: int
    inner: Layout
    prefix: int


def info(name: str) -> ModelInfo | None:
    """What is known of a timm model without drawing its weights; None when timm has no such model.

    Args:
        name: without a tag.
    """
    import timm  # takes seconds, which studies of named models do without

    if not timm.is_model(name):
        return None
    tags = tuple(each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*"))
    with torch.device("meta"):
        drawn = timm.create_model(name, num_classes=0)
    known = vit.describe(drawn) or swin.describe(drawn)
    if known:
        return replace(known, tags=tags)
    try:
        with _refusing(name):
            groups = _groups(drawn)
            stages = count_layers(groups["block"], groups["layer"])
    except ValueError as error:
        return ModelInfo(family="generic", stages=(), tags=tags, refused=str(error))
    return ModelInfo(family="generic", stages=stages, before=1, after=1 if groups["layer"].tail else 0, tags=tags)


@lru_cache(maxsize=1024)
def problem(network: Network, size: int) -> str | None:
    """Why the model cannot be cut there, or take images of this size, found by trying it; None when nothing is."""
    try:
        _find_cut(network, 3 if network.input == "rgb" else 1, size)
    except ValueError as error:
        return str(error)
    return None


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut, its layout found from what comes out.

    An uncut model whose own pooled features are neither a mean nor a class token of its last output pools itself: its
    output is a vector. The whole network is drawn before it is cut.

    Args:
        size: pixels; models whose tensors depend on it are drawn for it.

    Raises:
        ValueError: the model cannot be cut there, or not at all, with the reason.
    """
    kept, layout, width = _find_cut(network, channels, size)
    study = _study(network.model, channels, size)
    backbone = _draw(network.model, channels, size)
    if kept is not None:
        _take_out(backbone, study, network.grain, kept)
    if layout != "vector" or kept is not None:
        backbone.forward = backbone.forward_features
    last = study.taps[network.grain][(kept or 0) - 1]
    backbone.depth_blocks = {grain: _list(backbone, study, grain, last) for grain in _GRAINS}
    return Trunk(
        backbone=backbone, width=width, layout=layout, inner=study.inner, pool=study.pool, class_tokens=study.prefix
    )


def blocks(backbone: Any, grain: Grain) -> list[Block]:
    """The blocks that were not cut away: timm's coarse groups at grain `block`, its fine ones at grain `layer`."""
    return list(backbone.depth_blocks[grain])


def _draw(name: str, channels: int, size: int) -> Any:
    import timm

    fixed: dict[str, Any] = (
        {"img_size": size} if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False) else {}
    )
    return timm.create_model(name, in_chans=channels, num_classes=0, **fixed)


def _groups(backbone: nn.Module) -> dict[Grain, Groups]:
    return {grain: find_groups(backbone, grain) for grain in _GRAINS}


@lru_cache(maxsize=64)
def _study(name: str, channels: int, size: int) -> _Study:
    with _refusing(name), _reference(name, channels, size) as (backbone, image):
        groups = _groups(backbone)
        count_layers(groups["block"], groups["layer"])
        layout, pool, width = find_pooling(backbone, image)
        inside = record(backbone, backbone.forward_features, image)
        run = record(backbone, backbone.forward, image) if layout == "vector" else inside
        taps: dict[Grain, list[str]] = {
            grain: find_taps(groups[grain].layers(), run, inside=set(inside.ends)) for grain in _GRAINS
        }
        prefix = getattr(backbone, "num_prefix_tokens", 0)
        shapes = [run.shapes[tap] for tap in (*taps["block"], *taps["layer"])]
        alike = pool == "mean" and not prefix
        inner = find_inner(shapes, getattr(backbone, "output_fmt", "NCHW"), same_tokens=not alike)
        return _Study(
            groups=groups, taps=taps, run=run, layout=layout, pool=pool, width=width, inner=inner, prefix=prefix
        )


def _find_cut(network: Network, channels: int, size: int) -> tuple[int | None, Layout, int]:
    """How many groups lie before the cut (None when all do), and layout and pooled width of the output there."""
    study = _study(network.model, channels, size)
    kept = _kept(network, study)
    if kept is not None:
        return kept, *_cut_shape(network.model, channels, size, network.grain, kept)
    if study.layout == "vector" and network.head == "flatten":
        raise ValueError(f"'{network.model}' pools before its last layer: head 'flatten' needs it cut, or head 'pool'")
    return None, study.layout, study.width


@lru_cache(maxsize=1024)
def _cut_shape(name: str, channels: int, size: int, grain: Grain, kept: int) -> tuple[Layout, int]:
    """Layout and pooled width of the output behind `kept` groups, where cutting there is exact."""
    study = _study(name, channels, size)
    tap = study.taps[grain][kept - 1]
    seen: list[Tensor] = []
    with _refusing(f"depth {kept} of {name}"), _reference(name, channels, size) as (backbone, image):
        handle = backbone.get_submodule(tap).register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
        backbone(image)
        handle.remove()
        _take_out(backbone, study, grain, kept)
        output = backbone.forward_features(image)
        if not (isinstance(output, Tensor) and torch.equal(output, seen[0])):
            raise ValueError(f"what is left of it does not give the output of '{tap}'")
        layout: Layout = "vector" if output.ndim == 2 else study.inner
        trunk = Trunk(
            backbone=backbone, width=0, layout=layout, inner=study.inner, pool=study.pool, class_tokens=study.prefix
        )
        return layout, pooled(output, trunk).shape[1]


@contextmanager
def _reference(name: str, channels: int, size: int) -> Iterator[tuple[Any, Tensor]]:
    """A whole model and an image, both drawn without touching the caller's generator.

    Tensors that start constant get values of their own: behind a zero, any two ways of cutting would look alike.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.manual_seed(0)
        backbone = _draw(name, channels, size).eval()
        for parameter in backbone.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                parameter.uniform_(0.1, 0.5)
        yield backbone, torch.randn(1, channels, size, size)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"'{what}' cannot be cut by timm's depth groups: {error}") from error


def _kept(network: Network, study: _Study) -> int | None:
    """How many groups of the network's grain lie before the cut; None when all do."""
    groups = study.groups[network.grain]
    steps = len(groups.parts) if network.grain == "block" else len(groups.layers())
    if network.depth is None or network.depth == steps:
        return None
    return network.depth + (1 if network.grain == "block" else 0)


def _take_out(backbone: nn.Module, study: _Study, grain: Grain, kept: int) -> None:
    groups = study.groups[grain].layers()[kept:]
    removed = {name for group in groups for name in group.tensors}
    after = study.run.ends[study.taps[grain][kept - 1]][0]
    _replace("", backbone, removed, study.run, after)


def _replace(prefix: str, module: nn.Module, removed: set[str], run: Run, after: int) -> None:
    """Whatever holds removed tensors alone, or none and starts behind the cut, lets pass what it is given."""
    for name in _own_tensors(module):
        if prefix + name in removed:
            setattr(module, name, None)
    for name, child in list(module.named_children()):
        path = prefix + name
        held = {f"{path}.{each}" for each in tensor_names(child)}
        if path in run.ends and (held <= removed if held else run.starts[path][0] > after):
            setattr(module, name, Passing())
        else:
            _replace(f"{path}.", child, removed, run, after)


def _own_tensors(module: nn.Module) -> list[str]:
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return [name for name, _ in own]


def _list(backbone: nn.Module, study: _Study, grain: Grain, last: str) -> list[Block]:
    """The blocks of a cut backbone; the last one's output is the backbone's, from the module `last`."""
    present = set(tensor_names(backbone))
    groups, taps = study.groups[grain], study.taps[grain]
    found = [
        _block(backbone, [name for name in group.tensors if name in present], tap)
        for group, tap in zip(groups.layers(), taps, strict=True)
        if present.intersection(group.tensors)
    ]
    found[-1] = replace(found[-1], tap=f"backbone.{last}")
    stem, inner = replace(found[0], name="stem"), found[1 : 1 + len(groups.parts)]
    tail: Sequence[Block] = found[1 + len(groups.parts) :]
    parts = {block.name: [block] for block in inner}
    return list_blocks(stem, parts, tail[0] if tail else None, by_layer=grain == "layer")


def _block(backbone: nn.Module, tensors: Sequence[str], tap: str) -> Block:
    group = make_group(backbone, tensors)
    return Block(
        name=(*group.loose, *group.modules)[-1],
        modules=tuple(f"backbone.{name}" for name in group.modules),
        tap=f"backbone.{tap}",
        tensors=tuple(f"backbone.{name}" for name in group.loose),
    )
