"""What is judged of a source before anything is read."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.cell import Gabor, Weights
from sweeper.models import MODELS
from sweeper.weights import SOURCES, problem


def _problem(source: str, model: str = "resnet50") -> str | None:
    return problem(Weights(source=source), model)


def test_sources_are_judged_without_torch() -> None:
    script = "import sys, sweeper.weights; sys.exit(bool({'torch', 'timm', 'mlflow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_start_at_random(model: str) -> None:
    assert _problem("random", model) is None


@pytest.mark.parametrize(("name", "source"), SOURCES.items())
def test_every_model_of_a_source_is_one_of_ours(name: str, source: object) -> None:
    assert SOURCES[name].models
    assert all(model in MODELS for model in SOURCES[name].models)


@pytest.mark.parametrize("source", ["imagenet", "radimagenet"])
@pytest.mark.parametrize("model", ["resnet50", "resnet50.a1_in1k"])
def test_resnet50_has_weights_with_or_without_a_tag(source: str, model: str) -> None:
    assert _problem(source, model) is None


@pytest.mark.parametrize("source", ["cell:0123456789abcdef", "registry:natural/3"])
def test_a_well_written_state_of_ours_is_no_mistake(source: str) -> None:
    assert _problem(source) is None


def test_an_existing_file_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    assert _problem(f"file:{tmp_path / 'state.pt'}") is None


def test_imagenet_has_no_weights_for_the_cbr_family() -> None:
    assert str(_problem("imagenet", "cbr_tiny")).startswith(
        "source 'imagenet' has no weights for 'cbr_tiny'; it has alexnet, deit_base_patch16_224, "
    )


@pytest.mark.parametrize("source", ["radimagenet", "radimagenet_keras"])
def test_radimagenet_has_weights_for_three_models(source: str) -> None:
    assert _problem(source, "resnet18") == (
        f"source '{source}' has no weights for 'resnet18'; it has densenet121, inception_v3, resnet50"
    )


def test_dino_refuses_a_tag_of_other_weights() -> None:
    assert str(_problem("dino", "vit_small_patch16_224.augreg_in1k")).startswith("source 'dino' has no weights for ")


@pytest.mark.parametrize("model", ["vit_small_patch16_224", "vit_small_patch16_224.dino", "deit_small_patch16_224"])
def test_dino_has_weights_for_the_small_vit_under_all_its_names(model: str) -> None:
    assert _problem("dino", model) is None


COMBINATIONS = [
    # values of weights, what else, how the sentence begins
    ({"source": "random", "norms": "reset"}, {}, "norms is 'reset' with source 'random'"),
    ({"source": "random", "tables": "draw"}, {}, "tables is 'draw' with source 'random'"),
    ({"source": "imagenet", "tables": "draw"}, {}, "tables is 'draw' with rest 'random'"),
    ({"source": "imagenet", "blocks": 3}, {"slim": 2}, "blocks=3 with slim=2: only the first 2 blocks keep the width"),
    ({"source": "imagenet", "rest": "stats"}, {"slim": 2}, "rest is 'stats' with slim=2"),
    ({"source": "random", "gabor": Gabor()}, {"input": "red"}, "Gabor has colours=('grey', 'red_green') with input='r"),
    ({"source": "radimagenet_keras"}, {"input": "red"}, "input 'red' takes the filters of the first channel, which is"),
    ({"source": "imagenet"}, {"input": "red", "pixels": "caffe"}, "input 'red' takes the filters of the first channel"),
    ({"source": "imagenet"}, {"pixels": "cafe"}, "pixels 'cafe' is unknown; did you mean caffe"),
]


@pytest.mark.parametrize(("values", "others", "beginning"), COMBINATIONS)
def test_a_combination_that_means_nothing_is_a_mistake(
    values: dict[str, Any], others: dict[str, Any], beginning: str
) -> None:
    assert str(problem(Weights(**values), "resnet50", **others)).startswith(beginning)


ALLOWED = [
    ({"source": "imagenet", "blocks": 2}, {"slim": 2}),
    ({"source": "imagenet", "tables": "draw", "rest": "stats", "blocks": 0}, {}),
    ({"source": "random", "gabor": Gabor(colours=("grey",))}, {"input": "sum"}),
    ({"source": "random", "gabor": Gabor()}, {}),
    ({"source": "radimagenet_keras"}, {"input": "sum"}),
    ({"source": "radimagenet_keras"}, {"input": "red", "pixels": "half"}),
    ({"source": "imagenet"}, {"pixels": "dataset", "input": "red"}),
]


@pytest.mark.parametrize(("values", "others"), ALLOWED)
def test_a_combination_that_means_something_is_none(values: dict[str, Any], others: dict[str, Any]) -> None:
    assert problem(Weights(**values), "resnet50", **others) is None


def test_an_unknown_model_is_left_to_the_models_room() -> None:
    assert _problem("radimagenet", "resnet51") is None


def test_an_unknown_source_is_answered_with_the_nearest() -> None:
    assert _problem("imagent") == "source 'imagent' is unknown; did you mean imagenet or radimagenet?"


def test_an_unknown_scheme_is_answered_with_the_known_ones() -> None:
    assert str(_problem("s3:bucket/state")).startswith("source 's3:bucket/state' is unknown; ")


@pytest.mark.parametrize("source", ["cell:", "cell:0123", "cell:0123456789ABCDEF", "cell:0123456789abcdef0"])
def test_a_malformed_key_is_a_mistake(source: str) -> None:
    assert _problem(source) == f"source '{source}' must be written cell:KEY, where KEY is a cell's key of 16 hex digits"


@pytest.mark.parametrize("source", ["registry:natural", "registry:natural/", "registry:/3", "registry:natural/best"])
def test_a_malformed_version_is_a_mistake(source: str) -> None:
    assert _problem(source) == (
        f"source '{source}' must be written registry:NAME/VERSION, where VERSION is a number from 1"
    )


def test_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    assert _problem(f"file:{tmp_path}/no.pt") == f"source 'file:{tmp_path}/no.pt': there is no such file"


def test_a_relative_path_is_a_mistake() -> None:
    assert _problem("file:state.pt") == (
        "source 'file:state.pt' must name an absolute path: workers run in another folder"
    )


@pytest.mark.parametrize(("weights", "axis"), [(Weights(blocks=2), "blocks"), (Weights(rest="stats"), "rest")])
def test_the_random_source_has_nothing_to_give_in_part(weights: Weights, axis: str) -> None:
    assert str(problem(weights, "resnet18")).startswith(f"{axis} is {getattr(weights, axis)!r} with source 'random'")
