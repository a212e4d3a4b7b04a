"""The models that a study can name, with everything about them that is known without building them.

It imports no torch, so that a study can be judged at once; the file of each family builds what is listed here.
"""

from functools import cache

from sweeper.models.info import CbrShape, Family, ModelInfo, Window
from sweeper.rules import nearest


class _Models(dict[str, ModelInfo]):
    """A table that also takes a name with one of its timm tags, as `resnet50.a1_in1k`, and timm's other models.

    Those are listed nowhere here: timm is asked, which takes seconds.
    """

    def __missing__(self, name: str) -> ModelInfo:
        found = _find(base_name(name))
        if found is None or unknown(name):
            raise KeyError(unknown(name))
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and unknown(name) is None


def base_name(model: str) -> str:
    """A model's name without the tag that selects its pretrained weights."""
    return model.partition(".")[0]


def family_of(model: str) -> Family:
    """The family whose file builds the model.

    Raises:
        KeyError: when the model is unknown, with the nearest names.
    """
    return MODELS[model].family


def unknown(model: str) -> str | None:
    """Why there is no such model, with the nearest names; None when there is one."""
    base, dot, tag = model.partition(".")
    info = _find(base)
    if info is None:
        return f"model '{model}' is unknown; {nearest(base, MODELS)}"
    if info.refused:
        return info.refused
    if dot and not info.tags:
        return f"model '{model}' is unknown; '{base}' has no tags"
    if dot and tag not in info.tags:
        return f"model '{model}' is unknown; {nearest(model, [f'{base}.{each}' for each in info.tags])}"
    return None


def _find(base: str) -> ModelInfo | None:
    return dict.get(MODELS, base) or (_ask_timm(base) if base else None)


@cache
def _ask_timm(base: str) -> ModelInfo | None:
    from sweeper.models import generic

    return generic.info(base)


def _resnet(*stages: int, tags: str) -> ModelInfo:
    return ModelInfo(family="resnet", stages=stages, before=1, tags=tuple(tags.split()))


def _cbr(*widths: int, kernel: int, pools: int, padding: int = 0) -> ModelInfo:
    shape = CbrShape(widths=widths, kernel=kernel, pools=pools, padding=padding)
    convolution, pool = (kernel, 1, padding), (3, 2, padding)
    windows = tuple((convolution, pool) if number < pools else (convolution,) for number in range(len(widths)))
    return ModelInfo(family="cbr", stages=(1,) * len(widths), shape=shape, windows=windows)


def _densenet(*layers: int, tags: str) -> ModelInfo:
    """A dense block's last layer is the transition behind it, which halves the map; padding is the stem's alone."""
    stages = (*(count + 1 for count in layers[:-1]), layers[-1])
    stem: tuple[Window, ...] = ((7, 2, 3), (3, 2, 1))
    blocks = tuple(((),) * count + (((2, 2, 0),),) for count in layers[:-1])
    windows = (stem, *(layer for block in blocks for layer in block))
    return ModelInfo(family="densenet", stages=stages, before=1, after=1, tags=tuple(tags.split()), windows=windows)


def _efficientnet(*stages: int, tags: str) -> ModelInfo:
    return ModelInfo(family="efficientnet", stages=stages, before=1, after=1, tags=tuple(tags.split()))


def _vit(blocks: int, tags: str) -> ModelInfo:
    """Patches of 16 pixels."""
    return ModelInfo(family="vit", stages=(2,) * blocks, before=1, after=1, tags=tuple(tags.split()), multiple=16)


def _swin(*blocks: int, tags: str) -> ModelInfo:
    """Patches of 4 pixels."""
    stages = tuple(2 * count for count in blocks)
    return ModelInfo(family="swin", stages=stages, before=1, after=1, tags=tuple(tags.split()), multiple=4)


_RESNET18_TAGS = "a1_in1k a2_in1k a3_in1k fb_ssl_yfcc100m_ft_in1k fb_swsl_ig1b_ft_in1k gluon_in1k tv_in1k"
_RESNET34_TAGS = "a1_in1k a2_in1k a3_in1k bt_in1k gluon_in1k ra4_e3600_r224_in1k tv_in1k"
_RESNET50_TAGS = (
    "a1_in1k a1h_in1k a2_in1k a3_in1k am_in1k b1k_in1k b2k_in1k bamboo bt_in1k c1_in1k c2_in1k d_in1k "
    "fb_ssl_yfcc100m_ft_in1k fb_swsl_ig1b_ft_in1k gluon_in1k ra_in1k ram_in1k tv2_in1k tv_in1k"
)
_DEEP_TAGS = "a1_in1k a1h_in1k a2_in1k a3_in1k gluon_in1k tv2_in1k tv_in1k"
_VIT_BASE_TAGS = (
    "augreg2_in21k_ft_in1k augreg_in1k augreg_in21k augreg_in21k_ft_in1k bamboo dino mae orig_in21k "
    "orig_in21k_ft_in1k sam_in1k"
)
_SWIN_TAGS = "ms_in1k ms_in22k ms_in22k_ft_in1k"
_INCEPTION_WINDOWS: tuple[tuple[Window, ...], ...] = (
    *(((3, 2, 0),), ((3, 1, 0),), ((3, 1, 1), (3, 2, 0))),
    *(((1, 1, 0),), ((3, 1, 0), (3, 2, 0))),
    *((), (), ()),
    *(((3, 2, 0),), (), (), (), ()),
    *(((3, 2, 0),), (), ()),
)
_ALEXNET_WINDOWS: tuple[tuple[Window, ...], ...] = (
    *(((11, 4, 2), (3, 2, 0)), ((5, 1, 2), (3, 2, 0))),
    *((), (), ((3, 1, 1), (3, 2, 0))),
)

MODELS: dict[str, ModelInfo] = _Models(
    # He et al. 2016, as timm builds and names them; `resnet10t` has a three-convolution stem.
    resnet10t=_resnet(1, 1, 1, 1, tags="c3_in1k"),
    resnet18=_resnet(2, 2, 2, 2, tags=_RESNET18_TAGS),
    resnet26=_resnet(2, 2, 2, 2, tags="bt_in1k"),
    resnet34=_resnet(3, 4, 6, 3, tags=_RESNET34_TAGS),
    resnet50=_resnet(3, 4, 6, 3, tags=_RESNET50_TAGS),
    resnet101=_resnet(3, 4, 23, 3, tags=_DEEP_TAGS),
    resnet152=_resnet(3, 8, 36, 3, tags=_DEEP_TAGS),
    # Huang et al. 2017
    densenet121=_densenet(6, 12, 24, 16, tags="ra_in1k tv_in1k"),
    densenet161=_densenet(6, 12, 36, 24, tags="tv_in1k"),
    densenet169=_densenet(6, 12, 32, 32, tags="tv_in1k"),
    densenet201=_densenet(6, 12, 48, 32, tags="tv_in1k"),
    # Szegedy et al. 2016, without the auxiliary head
    inception_v3=ModelInfo(
        family="inception",
        stages=(3, 2, 3, 5, 3),
        tags=("gluon_in1k", "tf_adv_in1k", "tf_in1k", "tv_in1k"),
        windows=_INCEPTION_WINDOWS,
    ),
    # Tan and Le 2019
    efficientnet_b0=_efficientnet(1, 2, 2, 3, 3, 4, 1, tags="ra4_e3600_r224_in1k ra_in1k"),
    tf_efficientnet_b0=_efficientnet(1, 2, 2, 3, 3, 4, 1, tags="aa_in1k ap_in1k in1k ns_jft_in1k"),
    # Krizhevsky 2014, as torchvision builds it: timm has none
    alexnet=ModelInfo(family="alexnet", stages=(1,) * 7, windows=_ALEXNET_WINDOWS),
    # Dosovitskiy et al. 2021; Touvron et al. 2021
    vit_tiny_patch16_224=_vit(12, "augreg_in21k augreg_in21k_ft_in1k"),
    vit_small_patch16_224=_vit(12, "augreg_in1k augreg_in21k augreg_in21k_ft_in1k dino"),
    vit_base_patch16_224=_vit(12, _VIT_BASE_TAGS),
    deit_tiny_patch16_224=_vit(12, "fb_in1k"),
    deit_small_patch16_224=_vit(12, "fb_in1k"),
    deit_base_patch16_224=_vit(12, "fb_in1k"),
    # Liu et al. 2021
    swin_tiny_patch4_window7_224=_swin(2, 2, 6, 2, tags=_SWIN_TAGS),
    swin_small_patch4_window7_224=_swin(2, 2, 18, 2, tags=_SWIN_TAGS),
    swin_base_patch4_window7_224=_swin(2, 2, 18, 2, tags=_SWIN_TAGS),
    # Raghu et al. 2019; `cbr_tiny` is as wide as in Peng et al. 2023 (the 2019 paper's count fits 32-64-128-256).
    cbr_larget=_cbr(32, 64, 128, 256, 512, kernel=7, pools=4),
    cbr_largew=_cbr(64, 128, 256, 512, kernel=7, pools=4),
    cbr_small=_cbr(32, 64, 128, 256, kernel=7, pools=4),
    cbr_tiny=_cbr(64, 128, 256, 512, kernel=5, pools=4),
    # Our own small member for images of 8 to 64 pixels, not of the paper: padded, so that no image is too small.
    cbr_mini=_cbr(16, 32, 64, 128, kernel=3, pools=4, padding=1),
)
