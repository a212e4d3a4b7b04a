"""A configuration file of Matsoukas et al. 2022 (`params.json` of their code) as a cell.

Nothing is guessed: a setting that would change the result and has no counterpart here is an error, all of them in
one. Those in `_HARMLESS` change nothing here. What differs from the study's code, `from_feature_reuse_json` names.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweeper.cell import Cell, make_cell
from sweeper.grid import StudyError
from sweeper.models import MODELS
from sweeper.rules import is_int, is_number, nearest
from sweeper.settings import Settings
from sweeper.weights import study_index, study_indices

DATASETS: Mapping[str, dict[str, Any]] = {
    "APTOS2019": {"dataset": "aptos2019", "fold": 1, "monitor": "quadratic_kappa"},
    "DDSM": {"dataset": "ddsm", "input": "red", "monitor": "auroc"},
    "ISIC2019": {"dataset": "isic2019", "fold": 1, "monitor": "recall_macro"},
    "CheXpert": {"dataset": "chexpert_u_zeros", "fold": 1, "input": "red", "loss": "bce", "monitor": "auroc"},
    "Camelyon": {"dataset": "pcam", "monitor": "auroc"},
}
"""Data set -> its axes: name, the first of our folds where the study split at random, the rule for grey images, the
loss of several labels an image, and the study's target metric."""

BACKBONES: Mapping[str, str] = {
    "deit_tiny": "deit_tiny_patch16_224.fb_in1k",
    "deit_small": "deit_small_patch16_224.fb_in1k",
    "deit_base": "deit_base_patch16_224.fb_in1k",
    "deit_small5b": "deit_small_patch16_224.fb_in1k",
    "swin_tiny": "swin_tiny_patch4_window7_224.ms_in1k",
    "swin_small": "swin_small_patch4_window7_224.ms_in1k",
    "swin_base": "swin_base_patch4_window7_224.ms_in1k",
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
    "resnet152": "resnet152.tv_in1k",
    "inception_v3": "inception_v3.tv_in1k",
}
"""`backbone_type` -> timm's name, with the tag of the weights that the study's code loads."""

_BLOCKS_KEPT = {"deit_small5b": 5}
_TRAIN = "dataset_params.train_transforms"
_SIZED = {
    "Resize": ("height", "width"),
    "CenterCrop": ("height", "width"),
    "RandomCrop": ("height", "width"),
    "RandomResizedCrop": ("size", "size"),
}
"""Transforms that set the size of images, in the order in which the study applies them."""
_HARMLESS = (
    "system_params.*",  # devices
    "log_params.*",
    "lr_finder.*",  # read under --find_lr alone: an LrSearch of method "grid" does that
    "dataset_params.data_location",
    "dataloader_params.*.num_workers",
    "dataloader_params.*.prefetch_factor",
    "dataloader_params.*.pin_memory",
    "dataloader_params.*.persistent_workers",
    "dataloader_params.trainloader.drop_last",  # our batches are nearly equal: there is no small last one
    "dataloader_params.valloader.batch_size",
    "dataloader_params.valloader.shuffle",
    "dataloader_params.testloader.batch_size",
    "dataloader_params.testloader.shuffle",
    "model_params.transformers_params.is_memory_efficient",
    "training_params.log_every",
    "training_params.log_embeddings",
    "training_params.use_tensorboard",
    "training_params.save_dir",
)
"""Settings that change no result here, as patterns."""


def from_feature_reuse_json(path: str | Path, *, augment: str | None = None) -> Cell:
    """The cell that a configuration of the study describes; `-run_K` at the end of its model name is the seed.

    Where the study splits at random, image by image, the cell has fold 1, of whole patients. A plateau in epochs is
    counted in validations, so that the rate falls after as many epochs. The warm-up starts at zero, not at 1e-8.

    Args:
        augment: what is used in place of the file's transforms. Without it they must be a plain resizing, in training
            with or without a horizontal flip.

    Raises:
        StudyError: naming every setting that cannot be honoured, with its value and the reason.
        FileNotFoundError: when there is no such file.
    """
    given = Settings(Path(path))
    axes = _model(given) | _images(given, augment) | _optimizer(given) | _schedule(given) | _training(given)
    given.refuse_the_rest(_HARMLESS)
    if given.wrong:
        raise StudyError("\n".join([f"{path} has {len(given.wrong)} settings that cannot be honoured:", *given.wrong]))
    return make_cell(**axes)


def _images(given: Settings, augment: str | None) -> dict[str, Any]:
    axes = given.choose("dataset_params.dataset", DATASETS, {})
    parts = ("val", "test") if augment else ("train", "val", "test")  # else training has a transform of its own
    sizes = {part: _size(given, f"dataset_params.{part}_transforms") for part in parts}
    if len(set(sizes.values())) > 1 or not is_int(sizes["val"]):
        given.refuse("dataset_params.*_transforms", sizes, "all parts must have square images of one size")
    for part in ("train", "val", "test"):
        given.need(f"dataset_params.{part}_transforms.Normalize", True, "images are always normalised here")
    if augment is None:
        augment = "none"
        if given.take(f"{_TRAIN}.HorizontalFlip.apply", bool, False):
            augment = "flip"
            given.need(f"{_TRAIN}.HorizontalFlip.p", 0.5, "a flip has probability 0.5 here")
        _refuse_transforms(given)
    given.drop("dataset_params.*_transforms*")
    return axes | {"size": sizes["val"], "augment": augment, "pixels": "dataset"}


def _size(given: Settings, part: str) -> Any:
    """Height and width of a part's images by the last of its transforms that sets them; None when they are unclear."""
    root = part if f"{part}.Resize.apply" in given.left else f"{part}[0]"  # of several views the first
    found = None
    for name, sides in _SIZED.items():
        if given.left.get(f"{root}.{name}.apply"):
            height, width = (given.left.get(f"{root}.{name}.{side}") for side in sides)
            found = height if height == width else None
    return found


def _refuse_transforms(given: Settings) -> None:
    """Names every transform that is on and is no plain resizing."""
    for path, value in given.left.items():
        part, _, name = path.removesuffix(".apply").rpartition(".")
        if "_transforms" not in part or not path.endswith(".apply") or value is False or name == "Resize":
            continue
        sides = {given.left.get(f"{part}.{each}.{side}") for each in ("Resize", name) for side in ("height", "width")}
        if name != "CenterCrop" or len(sides) > 1:  # else it takes nothing off
            given.refuse(path, value, "say with augment= what to use instead of the file's transforms")


def _model(given: Settings) -> dict[str, Any]:
    backbone = given.left.get("model_params.backbone_type")
    model = given.choose("model_params.backbone_type", BACKBONES, "")
    family = MODELS[model].family if model else ""
    tokens = family in ("vit", "swin")
    given.drop(f"model_params.{'cnn' if tokens else 'transformers'}_params.*")
    if tokens:
        size = _size(given, "dataset_params.val_transforms")
        given.need("model_params.transformers_params.img_size", [size], "it must be the images' size")
        patch = 16 if family == "vit" else 4
        given.need("model_params.transformers_params.patch_size", patch, f"of {backbone} there are patches of {patch}")
    kind = f"model_params.{'transformers' if tokens else 'cnn'}_params.pretrained_type"
    given.left.setdefault(kind, "supervised")
    source = given.choose(kind, {"supervised": "imagenet", "dino": "dino"}, "imagenet")
    if not model:
        given.drop("model_params.*")
        return {"model": "?"}
    kept = _BLOCKS_KEPT.get(str(backbone))
    start = _start(given, model, source, kept)
    if kept is not None:
        start |= {"depth": MODELS[model].layers(kept, "block") if start.get("grain") == "layer" else kept}
    if given.take("model_params.freeze_backbone", bool):
        start |= {"frozen": start.get("depth") or MODELS[model].blocks[start.get("grain", "block")]}
    return start | {"model": model.partition(".")[0] if start["source"] == "dino" else model}


def _start(given: Settings, model: str, source: str, kept: int | None) -> dict[str, Any]:
    """RI, WT, ST or WT-ST-n."""
    pretrained = given.take("model_params.pretrained", bool)
    drawn = given.take("model_params.wtst_init.apply", bool)
    path = "model_params.wtst_init.transfer_up_to_layer"
    if not drawn:
        given.drop(path)
        return {"source": source if pretrained else "random"}
    t = given.take(path, int)
    if t not in study_indices(model):
        given.refuse(path, t, f"of '{model}' it is {study_indices(model)[0]} to {study_indices(model)[-1]}")
        return {"source": source}
    found = study_index(model, t)
    every = MODELS[model].layers(kept, "block")
    if found["blocks"] >= every:  # all of it: WT
        return {"source": source}
    return {"source": source} | found


def _optimizer(given: Settings) -> dict[str, Any]:
    root = "optimization_params.default.optimizer"
    for place in (f"{root}.LARS_params", "optimization_params.default.LARS_params"):
        if given.take(f"{place}.use", bool, False):
            given.refuse(f"{place}.use", True, "the study's code defines no LARS; ours is Recipe(optimizer='lars')")
        given.drop(f"{place}.*")
    name = given.choose(f"{root}.type", {"Adam": "adam", "AdamW": "adamw", "SGD": "sgd"}, "adam")
    found = {
        "optimizer": name,
        "scale_lr": given.take(f"{root}.autoscale_lr", bool, False),
        "lr": given.take(f"{root}.params.lr", float),
        "weight_decay": given.take(f"{root}.params.weight_decay", float, 0.01 if name == "adamw" else 0.0),
    }
    for option, value in (("betas", [0.9, 0.999]), ("eps", 1e-8), ("amsgrad", False), ("dampening", 0)):
        given.need(f"{root}.params.{option}", value, f"it is always {json.dumps(value)} here")
    if name == "sgd":
        found["momentum"] = given.take(f"{root}.params.momentum", float, 0.0)
        found["nesterov"] = given.take(f"{root}.params.nesterov", bool, False)
    return found


def _schedule(given: Settings) -> dict[str, Any]:
    root = "optimization_params.default.scheduler"
    kinds = given.left.pop(f"{root}.type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    found: dict[str, Any] = {}
    if len([kind for kind in kinds if kind != "LinearWarmup"]) > 1:
        given.refuse(f"{root}.type", kinds, "there is one schedule here, with or without a warm-up")
    for kind in kinds:
        if kind not in _SCHEDULES:
            given.refuse(f"{root}.type", kind, _NO_ONE_CYCLE if kind == "OneCycleLR" else nearest(kind, _SCHEDULES))
            continue
        found |= _SCHEDULES[kind](given, f"{root}.params.{kind}")
    for path in [path for path in given.left if path.startswith(f"{root}.params.")]:
        if path.split(".")[4] not in kinds or path.split(".")[4] == "OneCycleLR":
            del given.left[path]  # of a schedule that is not used
    return found


def _warmup(given: Settings, root: str) -> dict[str, Any]:
    epochs = given.take(f"{root}.warmup_epochs", float, 0)
    steps = given.take(f"{root}.warmup_iters", int, 0)
    return {"warmup": epochs} if epochs else {"warmup_steps": steps}


def _plateau(given: Settings, root: str) -> dict[str, Any]:
    given.need(f"{root}.mode", "max", "a plateau is one of the target metric here, which is to rise")
    factor = given.take(f"{root}.factor", float, 0.1)
    epochs = given.take(f"{root}.patience", int, 10)  # torch's own
    every = _validations(given.left.get("training_params.val_every")) or 1
    return {"schedule": "plateau", "factor": factor, "plateau": (epochs + 1) * every - 1}


def _milestones(given: Settings, root: str) -> dict[str, Any]:
    milestones = given.take(f"{root}.milestones", list)
    return {"schedule": "multistep", "milestones": milestones, "factor": given.take(f"{root}.gamma", float, 0.1)}


def _cosine(given: Settings, root: str) -> dict[str, Any]:
    return {"schedule": "cosine", "lr_end": given.take(f"{root}.eta_min", float, 0.0)}


_NO_ONE_CYCLE = "the study's divides the last rate by 1e-4, so that it ends above its peak; ours is schedule='onecycle'"
_SCHEDULES: Mapping[str, Callable[[Settings, str], dict[str, Any]]] = {
    "LinearWarmup": _warmup,
    "ReduceLROnPlateau": _plateau,
    "MultiStepLR": _milestones,
    "CosineAnnealingLR": _cosine,
}


def _training(given: Settings) -> dict[str, Any]:
    root = "training_params"
    run = re.search(r"-run_(\d+)$", given.take(f"{root}.model_name", str, ""))
    every = given.take(f"{root}.val_every", float)
    if _validations(every) is None:
        given.refuse(f"{root}.val_every", every, "it must be 1, 1/2, 1/3 or so of an epoch")
    clip = given.take(f"{root}.grad_clipping", float)
    for name, value, why in (
        ("save_best_model", True, "the best state is what is tested here"),
        ("knn_eval", False, "a cell is judged by its head; ask k-NN with the probe Knn"),
        ("restore_session", False, "a cell starts from its source; what was interrupted goes on by itself"),
        ("restore_only_model", False, "a cell starts from its source, which may be file:PATH"),
    ):
        given.need(f"{root}.{name}", value, why)
    given.need("dataloader_params.trainloader.shuffle", True, "training images are always shuffled here")
    for loader in ("valloader", "testloader"):
        given.need(f"dataloader_params.{loader}.drop_last", False, "every image is evaluated here")
    return {
        "seed": int(run[1]) if run else 0,
        "batch_size": given.take("dataloader_params.trainloader.batch_size", int),
        "epochs": given.take(f"{root}.epochs", int),
        "validations": _validations(every) or 1,
        "clip": clip or None,
        "amp": "fp16" if given.take(f"{root}.use_mixed_precision", bool, False) else "off",
    }


def _validations(every: Any) -> int | None:
    """How many validations an epoch has, when there is one after each `every` epochs."""
    if not is_number(every) or not 0 < every <= 1:
        return None
    count = round(1 / every)
    return count if abs(count * every - 1) < 1e-3 else None
