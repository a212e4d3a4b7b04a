"""Configuration files of Matsoukas et al. 2022 as cells: the file that their code ships, with single changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper import from_feature_reuse_json, study_index, study_indices
from sweeper.cell import Cell, make_cell
from sweeper.grid import StudyError
from sweeper.models import MODELS, base_name
from sweeper.rules import value_problems

OFF = {"RandomCrop", "RandomRotation", "RandomGaussianBlur", "RandomAffine", "RandomPerspective", "RandomSolarize"}
ON = {"VerticalFlip", "HorizontalFlip", "ColorJitter", "RandomGrayscale"}


def transforms(train: bool) -> dict[str, Any]:
    """As shipped."""
    found: dict[str, Any] = {"Resize": {"apply": True, "height": 256, "width": 256}, "Normalize": True}
    found["CenterCrop"] = {"apply": not train, "height": 224, "width": 224}
    found["RandomResizedCrop"] = {"apply": train, "size": 224, "scale": [0.8, 1.2]}
    return found | {name: {"apply": train and name in ON, "p": 0.5} for name in OFF | ON}


def shipped() -> dict[str, Any]:
    """The file of the study's code."""
    loader = {"batch_size": 64, "num_workers": 4, "prefetch_factor": 4, "pin_memory": True, "persistent_workers": True}
    schedules = {
        "LinearWarmup": {"warmup_epochs": 0, "warmup_iters": 1000},
        "ReduceLROnPlateau": {"mode": "max", "factor": 0.1, "patience": 3},
        "OneCycleLR": {"anneal_strategy": "linear", "final_div_factor": 1e-4},
        "MultiStepLR": {"milestones": [7], "gamma": 0.1},
        "CosineAnnealingLR": {"eta_min": 1e-6},
    }
    return {
        "dataset_params": {
            "dataset": "APTOS2019",
            "data_location": "/somewhere",
            **{f"{part}_transforms": transforms(part == "train") for part in ("train", "val", "test")},
        },
        "dataloader_params": {
            "trainloader": loader | {"shuffle": True, "drop_last": True},
            "valloader": loader | {"shuffle": False, "drop_last": False},
            "testloader": loader | {"shuffle": False, "drop_last": False},
        },
        "model_params": {
            "backbone_type": "deit_small",
            "cnn_params": {"pretrained_type": "supervised"},
            "transformers_params": {
                "img_size": [224],
                "patch_size": 16,
                "pretrained_type": "supervised",
                "is_memory_efficient": False,
            },
            "pretrained": True,
            "wtst_init": {"apply": True, "transfer_up_to_layer": -2},
            "freeze_backbone": False,
        },
        "optimization_params": {
            "default": {
                "optimizer": {"type": "Adam", "autoscale_lr": False, "params": {"lr": 1e-4, "weight_decay": 1e-5}},
                "LARS_params": {"use": False, "batch_act_thresh": 256, "eps": 1e-8, "trust_coef": 0.001},
                "scheduler": {"type": ["LinearWarmup", "ReduceLROnPlateau"], "params": schedules},
            }
        },
        "training_params": {
            "model_name": "deit-run_3",
            "epochs": 2,
            "val_every": 0.5,
            "log_every": 25,
            "save_best_model": True,
            "log_embeddings": False,
            "knn_eval": False,
            "grad_clipping": 1.0,
            "restore_session": False,
            "restore_only_model": False,
            "use_tensorboard": False,
            "use_mixed_precision": False,
            "save_dir": "/somewhere",
        },
        "system_params": {"use_all_GPUs": True, "which_GPUs": "0", "use_GPU": True},
        "log_params": {"project_name": "x", "run_name": "DEFINED_BY_MODEL_NAME"},
        "lr_finder": {"grid_search_params": {"min_pow": -5, "max_pow": -2, "resolution": 25, "n_epochs": 5}},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, augment: str | None = "flip", **changes: Any) -> Cell:
    """The cell of the shipped file with other values at some paths, written with `__` for a dot."""
    settings = shipped()
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = settings
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    (folder / "params.json").write_text(json.dumps(settings))
    return from_feature_reuse_json(folder / "params.json", augment=augment)


def refused(folder: Path, augment: str | None = "flip", **changes: Any) -> str:
    with pytest.raises(StudyError) as error:
        read(folder, augment, **changes)
    return str(error.value)


OPTIMIZER = "optimization_params__default__optimizer"
SCHEDULER = "optimization_params__default__scheduler"


def test_the_shipped_file_is_statistics_only_in_every_value(folder: Path) -> None:
    assert read(folder) == make_cell(
        dataset="aptos2019",
        fold=1,
        size=224,
        augment="flip",
        pixels="dataset",
        model="deit_small_patch16_224.fb_in1k",
        grain="layer",
        source="imagenet",
        blocks=0,
        rest="stats",
        lr=1e-4,
        epochs=2,
        batch_size=64,
        weight_decay=1e-5,
        schedule="plateau",
        warmup_steps=1000,
        plateau=7,
        clip=1.0,
        validations=2,
        monitor="quadratic_kappa",
        seed=3,
    )


def test_every_value_of_the_cell_is_sound(folder: Path) -> None:
    assert list(value_problems(read(folder))) == []


@pytest.mark.parametrize(
    ("pretrained", "drawn", "start"),
    [
        (False, False, {"source": "random"}),
        (True, False, {"source": "imagenet"}),
        (True, True, {"source": "imagenet", "grain": "layer", "blocks": 0, "rest": "stats"}),
        (False, True, {"source": "imagenet", "grain": "layer", "blocks": 0, "rest": "stats"}),
    ],
)
def test_the_table_of_starting_points(folder: Path, pretrained: bool, drawn: bool, start: dict[str, Any]) -> None:
    cell = read(folder, model_params__pretrained=pretrained, model_params__wtst_init__apply=drawn)
    row = cell.row()
    expected = {"grain": "block", "blocks": None, "rest": "random", "norms": "copy"} | start
    assert {axis: row[axis] for axis in expected} == expected


@pytest.mark.parametrize("backbone", ["deit_small", "swin_tiny", "inception_v3", "resnet50"])
def test_transfer_up_to_a_layer_is_the_study_s_index(folder: Path, backbone: str) -> None:
    model = read(folder, model_params__backbone_type=backbone, **patch(backbone)).network.model
    for t in study_indices(model)[:-1]:
        row = read(
            folder,
            model_params__backbone_type=backbone,
            model_params__wtst_init__transfer_up_to_layer=t,
            **patch(backbone),
        ).row()
        assert {axis: row[axis] for axis in ("grain", "blocks", "rest", "norms")} == study_index(model, t)


@pytest.mark.parametrize("backbone", ["deit_small", "swin_tiny", "inception_v3", "resnet50"])
def test_transfer_up_to_the_last_layer_is_plain_transfer(folder: Path, backbone: str) -> None:
    more = {"model_params__backbone_type": backbone} | patch(backbone)
    last = study_indices(read(folder, **more).network.model)[-1]
    everything = read(folder, model_params__wtst_init__transfer_up_to_layer=last, **more)
    assert everything == read(folder, model_params__wtst_init__apply=False, **more)


def patch(backbone: str) -> dict[str, Any]:
    return {"model_params__transformers_params__patch_size": 4} if backbone.startswith("swin") else {}


def test_a_layer_beyond_the_last_is_refused(folder: Path) -> None:
    assert "transfer_up_to_layer = 13: of 'deit_small_patch16_224.fb_in1k' it is -2 to 12" in refused(
        folder, model_params__wtst_init__transfer_up_to_layer=13
    )


def test_the_cut_transformer_keeps_five_blocks_in_the_start_s_grain(folder: Path) -> None:
    drawn = read(folder, model_params__backbone_type="deit_small5b")
    assert (drawn.network.grain, drawn.network.depth) == ("layer", 11)
    plain = read(folder, model_params__backbone_type="deit_small5b", model_params__wtst_init__apply=False)
    assert (plain.network.grain, plain.network.depth) == ("block", 5)


def test_a_frozen_backbone_has_all_its_blocks_frozen(folder: Path) -> None:
    cell = read(folder, model_params__freeze_backbone=True)
    assert cell.recipe.frozen == MODELS[base_name(cell.network.model)].blocks["layer"]


def test_dino_weights_come_with_the_model_s_plain_name(folder: Path) -> None:
    cell = read(
        folder,
        model_params__transformers_params__pretrained_type="dino",
        model_params__wtst_init__apply=False,
    )
    assert (cell.weights.source, cell.network.model) == ("dino", "deit_small_patch16_224")


@pytest.mark.parametrize(
    ("dataset", "axes"),
    [
        ("DDSM", {"dataset": "ddsm", "fold": 0, "input": "red", "loss": "cross_entropy", "monitor": "auroc"}),
        ("ISIC2019", {"dataset": "isic2019", "fold": 1, "input": "rgb", "monitor": "recall_macro"}),
        ("CheXpert", {"dataset": "chexpert_u_zeros", "input": "red", "loss": "bce", "monitor": "auroc"}),
        ("Camelyon", {"dataset": "pcam", "fold": 0, "input": "rgb", "monitor": "auroc"}),
    ],
)
def test_each_data_set_brings_its_metric_its_loss_and_its_channels(
    folder: Path, dataset: str, axes: dict[str, Any]
) -> None:
    row = read(folder, dataset_params__dataset=dataset).row()
    assert {axis: row[axis] for axis in axes} == axes


@pytest.mark.parametrize(
    ("kinds", "axes"),
    [
        (["LinearWarmup", "CosineAnnealingLR"], {"schedule": "cosine", "warmup_steps": 1000, "lr_end": 1e-6}),
        (["MultiStepLR"], {"schedule": "multistep", "milestones": (7,), "factor": 0.1, "warmup_steps": 0}),
        (["LinearWarmup"], {"schedule": "constant", "warmup_steps": 1000}),
        ([], {"schedule": "constant", "warmup_steps": 0}),
    ],
)
def test_each_scheduler_is_a_schedule(folder: Path, kinds: list[str], axes: dict[str, Any]) -> None:
    row = read(folder, **{f"{SCHEDULER}__type": kinds}).row()
    assert {axis: row[axis] for axis in axes} == axes


@pytest.mark.parametrize(("every", "plateau"), [(1, 3), (0.5, 7), (0.25, 15)])
def test_a_plateau_of_epochs_falls_after_as_many_epochs(folder: Path, every: float, plateau: int) -> None:
    """torch lowers the rate at the fourth bad epoch in a row; so does a plateau of 4 x validations - 1."""
    assert read(folder, training_params__val_every=every).recipe.plateau == plateau


def test_a_warm_up_in_epochs_is_one_in_epochs(folder: Path) -> None:
    cell = read(folder, **{f"{SCHEDULER}__params__LinearWarmup__warmup_epochs": 1})
    assert (cell.recipe.warmup, cell.recipe.warmup_steps) == (1.0, 0)


def test_other_training_settings_are_taken_over(folder: Path) -> None:
    changes = {f"{OPTIMIZER}__type": "SGD", f"{OPTIMIZER}__autoscale_lr": True}
    changes |= {f"{OPTIMIZER}__params": {"lr": 0.1, "momentum": 0.8, "weight_decay": 0}}
    changes |= {"training_params__use_mixed_precision": True, "training_params__grad_clipping": 0}
    recipe = read(folder, **changes).recipe
    assert (recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.scale_lr) == ("sgd", 0.8, False, True)
    assert (recipe.lr, recipe.amp, recipe.clip) == (0.1, "fp16", None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training_params__val_every": 0.4}, "training_params.val_every = 0.4: it must be 1, 1/2, 1/3"),
        ({"training_params__knn_eval": True}, "training_params.knn_eval = true: "),
        ({"training_params__restore_session": True}, "training_params.restore_session = true: "),
        ({"training_params__epochs": "2"}, 'training_params.epochs = "2": it must be of type int'),
        ({"training_params__clock": 1}, "training_params.clock = 1: this setting is unknown here"),
        ({"dataset_params__dataset": "ISIC"}, 'dataset_params.dataset = "ISIC": did you mean ISIC2019?'),
        ({"model_params__backbone_type": "focal_tiny"}, 'model_params.backbone_type = "focal_tiny": '),
        ({"model_params__transformers_params__patch_size": 8}, "patch_size = 8: of deit_small there are patches of 16"),
        ({"model_params__transformers_params__img_size": [384]}, "img_size = [384]: it must be the images' size"),
        ({f"{SCHEDULER}__type": ["OneCycleLR"]}, 'optimization_params.default.scheduler.type = "OneCycleLR": '),
        ({f"{SCHEDULER}__type": ["MultiStepLR", "CosineAnnealingLR"]}, "there is one schedule here"),
        ({f"{SCHEDULER}__params__ReduceLROnPlateau__cooldown": 2}, "ReduceLROnPlateau.cooldown = 2: this setting is"),
        ({f"{SCHEDULER}__params__ReduceLROnPlateau__mode": "min"}, 'ReduceLROnPlateau.mode = "min": '),
        ({f"{OPTIMIZER}__type": "RMSprop"}, 'optimizer.type = "RMSprop": there are Adam, AdamW, SGD'),
        ({f"{OPTIMIZER}__params__betas": [0.5, 0.9]}, "params.betas = [0.5, 0.9]: it is always [0.9, 0.999] here"),
        ({"optimization_params__default__LARS_params__use": True}, "LARS_params.use = true: "),
        ({"dataloader_params__valloader__drop_last": True}, "valloader.drop_last = true: every image is evaluated"),
        ({"dataset_params__val_transforms__Normalize": False}, "val_transforms.Normalize = false: "),
        ({"dataset_params__test_transforms__CenterCrop__height": 192}, "square images of one size"),
    ],
)
def test_what_cannot_be_honoured_is_named_with_its_value(folder: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refused(folder, **changes)


def test_all_that_cannot_be_honoured_comes_in_one_error(folder: Path) -> None:
    said = refused(folder, training_params__knn_eval=True, training_params__val_every=3, model_params__x=1)
    assert "has 3 settings that cannot be honoured" in said
    assert len(said.splitlines()) == 1 + 3


def test_a_missing_setting_is_named(folder: Path) -> None:
    settings = shipped()
    del settings["training_params"]["epochs"], settings["dataset_params"]["dataset"]
    (folder / "params.json").write_text(json.dumps(settings))
    with pytest.raises(StudyError) as error:
        from_feature_reuse_json(folder / "params.json", augment="flip")
    assert "  training_params.epochs is missing" in str(error.value)
    assert len(str(error.value).splitlines()) == 1 + 2


def test_transforms_that_are_on_are_named_unless_others_are_asked_for(folder: Path) -> None:
    said = refused(folder, augment=None)
    for name in {"RandomResizedCrop"} | ON - {"HorizontalFlip"}:
        assert f"dataset_params.train_transforms.{name}.apply = true" in said
    assert "dataset_params.val_transforms.CenterCrop.apply = true" in said
    for name in OFF:
        assert name not in said


def test_a_plain_resizing_with_a_flip_needs_nothing_instead(folder: Path) -> None:
    plain = {"Resize": {"apply": True, "height": 64, "width": 64}, "Normalize": True}
    flipped = plain | {"HorizontalFlip": {"apply": True, "p": 0.5}}
    changes = {f"dataset_params__{part}_transforms": plain for part in ("val", "test")}
    changes |= {"dataset_params__train_transforms": flipped, "model_params__backbone_type": "resnet50"}
    cell = read(folder, None, **changes)
    assert (cell.images.size, cell.images.augment) == (64, "flip")


def test_several_views_of_an_image_are_named_unless_others_are_asked_for(folder: Path) -> None:
    views = [transforms(True), transforms(True)]
    assert "dataset_params.train_transforms[1].ColorJitter.apply = true" in refused(
        folder, None, dataset_params__train_transforms=views
    )
    assert read(folder, dataset_params__train_transforms=views).images.augment == "flip"


def test_a_missing_file_is_one(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_feature_reuse_json(folder / "nowhere.json")
