"""The tables that Juodelyte et al. 2023 published go in, and the means and correlations of their article come out."""

from pathlib import Path

import pandas as pd
import published_tables as known
import pytest

from analysis.foreign import similarity_rows
from analysis.hidden_representations import main
from analysis.published_representations import PUBLISHED

LAYERS = ("conv1", "block1", "block2", "block3", "block4")
SETTINGS = [("imagenet", False), ("imagenet", True), ("radimagenet", False), ("radimagenet", True), ("random", False)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known.write(tmp_path_factory.mktemp("published") / "results")


@pytest.fixture(scope="module")
def out(results: Path) -> Path:
    assert main([str(results.parent / "out"), "--published", str(results)]) == 0
    return results.parent / "out"


def read(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / f"published_{name}.csv", float_precision="round_trip")


@pytest.mark.parametrize("target", known.MEAN_AUC)
def test_the_published_means_and_spreads_of_auc_come_out(out: Path, target: str) -> None:
    table = read(out, "auc_mean").set_index(["dataset", "source", "freeze"])
    for setting, text in zip(SETTINGS, known.MEAN_AUC[target], strict=True):
        mean, sd = map(float, text.split())
        found = table.loc[(target, *setting)]
        assert found["mean"] == pytest.approx(mean, abs=0.056)  # both are rounded: to 0.1, and the folds to 0.01
        assert found["sd"] == pytest.approx(sd, abs=0.011)
        assert found["n"] == 5


@pytest.mark.parametrize("source", known.CORRELATIONS)
def test_the_published_correlations_of_similarity_and_gain_come_out(out: Path, source: str) -> None:
    table = read(out, "similarity_gain").drop_duplicates("panel").set_index("panel")
    for layer, r in zip(LAYERS, known.CORRELATIONS[source], strict=True):
        found = table.loc[f"{source}, {layer}"]
        assert found["r"] == pytest.approx(r, abs=0.001)
        assert found["pairs"] == 35


def test_the_published_means_of_cca_before_and_after_fine_tuning_come_out(out: Path) -> None:
    table = read(out, "layers_finetuned").set_index(["dataset", "pair", "layer"])["mean"]
    for (target, source), means in known.MEAN_CCA.items():
        found = [table[target, f"{source.lower()}: before and after", layer] for layer in LAYERS]
        assert found == pytest.approx(means, abs=0.001)


def test_the_published_means_of_cca_between_sources_come_out(out: Path) -> None:
    table = read(out, "layers_sources").set_index(["dataset", "pair", "layer"])["mean"]
    names = ("imagenet and radimagenet", "imagenet and radimagenet, fine-tuned", "random")
    for target, pairs in known.SOURCES_ALIKE.items():
        for name, means in zip(names, pairs, strict=True):
            assert [table[target, name, layer] for layer in LAYERS] == pytest.approx(means, abs=1e-12)


def test_the_published_similarity_of_mistakes_comes_out(out: Path, results: Path) -> None:
    drawn = read(out, "mistakes").groupby(["dataset", "measure"])["value"].mean()
    rows = similarity_rows(results / "similarity.csv")
    every = rows.groupby(["dataset", "freeze", "measure"])["value"].mean()
    for (target, freeze), (observed, independent) in known.MISTAKES.items():
        frozen = freeze == "freezeTrue"
        assert every[target, frozen, "observed"] == pytest.approx(observed, abs=1e-12)
        assert every[target, frozen, "independent"] == pytest.approx(independent, abs=1e-12)
        if not frozen:
            assert drawn[target, "observed"] == pytest.approx(observed, abs=1e-12)
            assert drawn[target, "independent (as published)"] == pytest.approx(independent, abs=1e-12)


def test_every_published_figure_is_there_in_all_forms(out: Path) -> None:
    pictures = {path.stem for path in out.glob("*.png")}
    assert len(pictures) == len(PUBLISHED) - 1  # one is a table
    assert pictures == {path.stem for path in out.glob("*.pdf")}
    assert {path.stem for path in out.glob("*.csv")} == {path.stem for path in out.glob("*.json")}


def test_a_table_that_is_not_there_leaves_its_figure_out(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "similarity.csv").write_bytes((results / "similarity.csv").read_bytes())
    assert main([str(tmp_path / "out"), "--published", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("left out: ") for line in said) == len(PUBLISHED) - 1
    assert [path.stem for path in (tmp_path / "out").glob("*.png")] == ["published_mistakes"]


def test_a_folder_that_is_not_there_is_one_sentence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "out"), "--published", str(tmp_path / "none")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("there is no folder")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
