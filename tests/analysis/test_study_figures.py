"""The figures of small forms of the published studies, from a real store: which are made, and what they show."""

from pathlib import Path

import pandas as pd
import pytest
import recorded_studies as known
from conftest import make_site

from analysis import feature_reuse, hidden_representations, transfusion, truncated_transfer
from analysis.axes import axes_frame
from analysis.explain import explain
from analysis.plates import Plate
from analysis.study_record import Record, apart, start_names
from sweeper import store
from sweeper.cell import Gabor, make_cell

MODULES = {
    (known.HIDDEN,): (hidden_representations, set()),
    (known.REUSE,): (feature_reuse, {"l2"}),
    (known.FUSION,): (transfusion, {"layer_maps", "epochs_to_threshold"}),
    (known.CUT, known.LAYERS): (truncated_transfer, set()),
}
"""Studies -> the module that draws them, and the figures that it lacks rows for."""


@pytest.mark.slow
@pytest.mark.parametrize("studies", MODULES, ids=lambda names: names[0])
def test_every_figure_is_made_and_traced_or_left_out_in_a_line(
    studies: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = known.recorded(tmp_path / "site", *studies)
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    module, lacks = MODULES[studies]
    assert module.main([*studies, str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(": ")[1] for line in lines if line.startswith("left out: ")} == lacks
    assert len(lines) == len(module.FIGURES)
    for path in (tmp_path / "out").glob("*.json"):
        assert explain(path)["studies"]
        assert explain(path.with_suffix(".csv"))["cells"]


@pytest.mark.parametrize("module", [feature_reuse, transfusion, truncated_transfer, hidden_representations])
def test_an_unknown_study_is_one_sentence_and_exit_code_1(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "empty")
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, said in (("emtpy", "there is no study 'emtpy'"), ("empty", "no cell of study 'empty' is finished")):
        assert module.main([name, str(tmp_path / "out")]) == 1  # type: ignore[attr-defined]
        error = capsys.readouterr().err
        assert error.startswith(said)
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (dict(source="random"), "random"),
        (dict(source="imagenet"), "imagenet"),
        (dict(source="imagenet", blocks=0, rest="stats"), "imagenet statistics"),
        (dict(source="imagenet", blocks=3, rest="stats"), "imagenet to 3, rest statistics"),
        (dict(source="imagenet", blocks=3, rest="stats", norms="reset"), "imagenet to 3 without norm, rest statistics"),
        (dict(source="imagenet", blocks=2), "imagenet to 2, rest random"),
        (dict(source="imagenet", slim=2), "imagenet, slim from 2"),
        (dict(source="random", gabor=Gabor()), "Gabor filters"),
    ],
)
def test_a_start_is_called_by_what_it_is(weights: dict, name: str) -> None:
    frame = axes_frame([make_cell(dataset="busi", model="resnet50", **weights)])
    assert start_names(frame).tolist() == [name]


def test_cells_of_different_settings_are_kept_apart_and_seeds_are_not() -> None:
    cells = [make_cell(dataset="busi", model="resnet50", fraction=f, seed=s) for f in (0.1, 1.0) for s in (0, 1)]
    frame: pd.DataFrame = axes_frame(cells)
    assert apart(frame, ["dataset"])["also"].tolist() == [", fraction 0.1"] * 2 + [", fraction 1.0"] * 2
    assert set(apart(frame, ["dataset", "fraction"])["also"]) == {""}


def test_the_published_kind_of_figure_keeps_settings_apart_too() -> None:
    axes = {"dataset": "busi", "model": "resnet50", "source": "random"}
    cells = [make_cell(**axes, fraction=f, seed=s) for f in (0.1, 1.0) for s in (0, 1)]
    runs = axes_frame(cells).assign(key=[cell.key for cell in cells], test_auroc=[0.6, 0.7, 0.8, 0.9])
    record = Record(studies=("study",), runs=runs, site=None)
    plate = hidden_representations.auc_mean(record)
    assert isinstance(plate, Plate)
    assert plate.data.set_index("source")["mean"].to_dict() == pytest.approx(
        {"random, fraction 0.1": 65, "random, fraction 1.0": 85}
    )
