"""The models that a study can name, with everything about them that is known without building them.

It imports no torch, so that a study can be judged at once; `resnet.py` and `cbr.py` build what is listed here.
"""

from dataclasses import dataclass
from typing import Literal

from sweeper.cell import Network
from sweeper.grid import nearest

Grain = Literal["block", "layer"]


@dataclass(frozen=True, kw_only=True)
class CbrShape:
    """What tells the members of the CBR family apart."""

    widths: tuple[int, ...]
    """Output channels of each convolution-norm-ReLU block."""
    kernel: int
    """Height and width of the convolutions in pixels; their stride is 1."""
    pools: int
    """How many blocks, from the first, end in a 3x3 max pool of stride 2."""
    padding: int = 0
    """Pixels added on each side before a convolution and before a pool."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model without building it."""

    family: Literal["resnet", "cbr"]
    stages: tuple[int, ...]
    """Layers in each stage: residual blocks of a ResNet (its stem not counted), one for each block of a CBR model."""
    tags: tuple[str, ...] = ()
    """What may follow the name and a dot: timm's tags of weights trained on ImageNet-1k."""
    shape: CbrShape | None = None
    """Set for the CBR family alone."""

    @property
    def blocks(self) -> dict[Grain, int]:
        """Number of blocks at each grain; a ResNet's stem is its first layer, and part of its first stage."""
        stem = 1 if self.family == "resnet" else 0
        return {"block": len(self.stages), "layer": stem + sum(self.stages)}

    def smallest(self, depth: int | None, grain: Grain) -> int:
        """Height and width in pixels of the smallest image that leaves at least one pixel after `depth` blocks.

        Every ResNet layer is padded, so that one pixel stays one pixel; an unpadded CBR block eats up its margins.
        """
        if self.shape is None:
            return 1
        pixels = 1
        for block in range(self.blocks[grain] if depth is None else depth, 0, -1):
            if block <= self.shape.pools:
                pixels = 2 * (pixels - 1) + 3 - 2 * self.shape.padding
            pixels += self.shape.kernel - 1 - 2 * self.shape.padding
        return pixels


class _Models(dict[str, ModelInfo]):
    """A table that also takes a name with one of its timm tags, as `resnet50.a1_in1k`."""

    def __missing__(self, name: str) -> ModelInfo:
        wrong = _unknown(name)
        if wrong:
            raise KeyError(wrong)
        return self[base_name(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _unknown(name) is None


def base_name(model: str) -> str:
    """A model's name without the tag that selects its pretrained weights."""
    return model.partition(".")[0]


def problem(network: Network, size: int | None = None) -> str | None:
    """What is wrong with a network, or with images of `size` pixels for it; None when nothing is."""
    wrong = _unknown(network.model)
    if wrong:
        return wrong
    info, depth = MODELS[network.model], network.depth
    count = info.blocks[network.grain]
    if depth is not None and not 1 <= depth <= count:
        return f"depth {depth} of '{network.model}' is impossible: at grain '{network.grain}' it is 1 to {count}"
    smallest = info.smallest(depth, network.grain)
    if size is not None and size < smallest:
        cut = f"depth {depth} of '{network.model}'" if depth else f"'{network.model}'"
        return f"size {size} is too small for {cut}: it needs images of at least {smallest} pixels"
    return None


def _unknown(model: str) -> str | None:
    base, dot, tag = model.partition(".")
    if not dict.__contains__(MODELS, base):
        return f"model '{model}' is unknown; {nearest(base, MODELS)}"
    tags = dict.__getitem__(MODELS, base).tags
    if dot and not tags:
        return f"model '{model}' is unknown; '{base}' has no tags"
    if dot and tag not in tags:
        return f"model '{model}' is unknown; {nearest(model, [f'{base}.{each}' for each in tags])}"
    return None


def _resnet(*stages: int, tags: str) -> ModelInfo:
    return ModelInfo(family="resnet", stages=stages, tags=tuple(f"{tag}_in1k" for tag in tags.split()))


def _cbr(*widths: int, kernel: int, pools: int, padding: int = 0) -> ModelInfo:
    shape = CbrShape(widths=widths, kernel=kernel, pools=pools, padding=padding)
    return ModelInfo(family="cbr", stages=(1,) * len(widths), shape=shape)


_RESNET18_TAGS = "a1 a2 a3 fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft gluon tv"
_RESNET34_TAGS = "a1 a2 a3 bt gluon ra4_e3600_r224 tv"
_RESNET50_TAGS = "a1 a1h a2 a3 am b1k b2k bt c1 c2 d fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft gluon ra ram tv2 tv"
_DEEP_TAGS = "a1 a1h a2 a3 gluon tv2 tv"

MODELS: dict[str, ModelInfo] = _Models(
    # He et al. 2016, as timm builds and names them; `resnet10t` has a three-convolution stem.
    resnet10t=_resnet(1, 1, 1, 1, tags="c3"),
    resnet18=_resnet(2, 2, 2, 2, tags=_RESNET18_TAGS),
    resnet26=_resnet(2, 2, 2, 2, tags="bt"),
    resnet34=_resnet(3, 4, 6, 3, tags=_RESNET34_TAGS),
    resnet50=_resnet(3, 4, 6, 3, tags=_RESNET50_TAGS),
    resnet101=_resnet(3, 4, 23, 3, tags=_DEEP_TAGS),
    resnet152=_resnet(3, 8, 36, 3, tags=_DEEP_TAGS),
    # Raghu et al. 2019; `cbr_tiny` is as wide as in Peng et al. 2023 (the 2019 paper's count fits 32-64-128-256).
    cbr_larget=_cbr(32, 64, 128, 256, 512, kernel=7, pools=4),
    cbr_largew=_cbr(64, 128, 256, 512, kernel=7, pools=4),
    cbr_small=_cbr(32, 64, 128, 256, kernel=7, pools=4),
    cbr_tiny=_cbr(64, 128, 256, 512, kernel=5, pools=4),
    # Our own small member for images of 8 to 64 pixels, not of the paper: padded, so that no image is too small.
    cbr_mini=_cbr(16, 32, 64, 128, kernel=3, pools=4, padding=1),
)
