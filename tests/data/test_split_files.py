"""Splits written, read back, and read as the studies publish them."""

from pathlib import Path

import pandas as pd
import pytest
from fakes import write_classes

from sweeper.cell import Images
from sweeper.data import DATASETS
from sweeper.data.dataset import make_index, read_index
from sweeper.data.export_split import export, main
from sweeper.data.folds import split
from sweeper.data.split_files import digests_of, fingerprint

PARTS = {"train": range(12), "val": range(12, 16), "test": range(16, 20)}
DIGITS = Images(dataset="digits", fold=3, fraction=0.2)


@pytest.fixture
def index() -> pd.DataFrame:
    rows = [(f"pictures/{'ab'[number % 2]}/{number:02d}.jpg", "ab"[number % 2], f"{number}") for number in range(24)]
    return make_index((*row, None) for row in rows)


def _write(folder: Path, name: str, *, column: str = "path", form: str = "../../data/pictures/{c}/{n:02d}.jpg") -> None:
    """Split tables of 20 of the 24 images; `name` holds the part."""
    for part, numbers in PARTS.items():
        path = folder / name.format(part=part)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {column: [form.format(c="ab"[n % 2], n=n) for n in numbers], "class": ["ab"[n % 2] for n in numbers]}
        pd.DataFrame(rows).to_csv(path)


def _read(index: pd.DataFrame, folder: Path, fold: int = 0) -> pd.Series:
    return split(index, fold=fold, protocol=f"files:{folder}", name="x")


def _expected(index: pd.DataFrame) -> list[str]:
    numbers = [int(image[-6:-4]) for image in index["image"]]
    return [next((part for part, own in PARTS.items() if number in own), "unused") for number in numbers]


@pytest.mark.parametrize("fold", [1, 5])
def test_the_folds_of_hidden_representations_are_read(index: pd.DataFrame, tmp_path: Path, fold: int) -> None:
    _write(tmp_path, f"{{part}}_fold{fold}.csv")
    assert _read(index, tmp_path, fold).tolist() == _expected(index)


@pytest.mark.parametrize(("name", "fold"), [("{part}_fold2.csv", 2), ("2/{part}.csv", 2), ("{part}.csv", 0)])
def test_the_files_that_make_a_split_are_told_apart_by_name_and_content(tmp_path: Path, name: str, fold: int) -> None:
    _write(tmp_path / "cut", name)
    before = digests_of("files:cut", fold, tmp_path)
    assert set(before) == {name.format(part=part) for part in PARTS}
    val = tmp_path / "cut" / name.format(part="val")
    val.write_bytes(val.read_bytes() + b"\n")
    after = digests_of("files:cut", fold, tmp_path)
    assert {each for each in before if before[each] != after[each]} == {name.format(part="val")}


def test_no_files_are_told_where_no_files_make_the_split(tmp_path: Path) -> None:
    assert digests_of("sweeper", 1, tmp_path) == {}


def test_the_exp_folders_of_truncated_transfer_are_read_by_image_id(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "2/{part}.csv", column="image_id", form="{n:02d}")
    assert _read(index, tmp_path, 2).tolist() == _expected(index)


def test_three_tables_of_a_folder_are_fold_0(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv", form="{n:02d}.jpg")
    assert _read(index, tmp_path).tolist() == _expected(index)


def test_a_path_with_backslashes_is_read(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv", form="C:\\data\\{c}\\{n:02d}.jpg")
    assert _read(index, tmp_path).tolist() == _expected(index)


def test_a_relative_path_is_below_the_data_folder(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path / "splits", "{part}.csv")
    assert split(index, fold=0, protocol="files:splits", root=tmp_path, name="x").tolist() == _expected(index)


def test_a_longer_path_tells_files_of_one_name_apart(tmp_path: Path) -> None:
    rows = [(f"{label}/{number}.png", label, f"{label}{number}", None) for label in "ab" for number in range(6)]
    index = make_index(rows)
    for part, numbers in {"train": (0, 1, 2), "val": (3,), "test": (4, 5)}.items():
        images = [f"home/{label}/{number}.png" for label in "ab" for number in numbers]
        pd.DataFrame({"path": images}).to_csv(tmp_path / f"{part}.csv", index=False)
    parts = _read(index, tmp_path)
    assert (
        parts.groupby(index["image"].str[2]).unique().map(list).tolist() == [["train"]] * 3 + [["val"]] + [["test"]] * 2
    )


def test_a_name_that_fits_several_images_is_refused_with_the_count(tmp_path: Path) -> None:
    index = make_index(
        (f"{label}/{number}.png", label, f"{label}{number}", None) for label in "ab" for number in range(6)
    )
    for part, numbers in {"train": (0, 1, 2), "val": (3,), "test": (4, 5)}.items():
        pd.DataFrame({"path": [f"{number}.png" for number in numbers]}).to_csv(tmp_path / f"{part}.csv")
    with pytest.raises(ValueError, match=r"6 images that .* names fit several images of the set \(first: '0.png'\)"):
        _read(index, tmp_path)


def test_images_that_the_set_lacks_are_refused_with_the_count(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv")
    few = index.iloc[:15]
    with pytest.raises(ValueError, match=r"x files:.* fold 0: \d+ images that .* names are not in the set \(first: '"):
        _read(few, tmp_path)


def test_an_image_in_two_files_is_refused(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv")
    (tmp_path / "test.csv").write_bytes((tmp_path / "val.csv").read_bytes())
    with pytest.raises(ValueError, match="4 images of test are in val too"):
        _read(index, tmp_path)


def test_two_names_of_one_image_are_refused(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv")
    pd.DataFrame({"path": ["00.jpg", "00.png", "01.jpg"]}).to_csv(tmp_path / "train.csv")
    with pytest.raises(ValueError, match=r"1 images .* fit an image that another name fits \(first: '00.png'\)"):
        _read(index, tmp_path)


def test_an_image_may_stand_several_times_in_one_part(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv")
    table = pd.read_csv(tmp_path / "train.csv")
    pd.concat([table, table]).to_csv(tmp_path / "train.csv", index=False)
    assert _read(index, tmp_path).tolist() == _expected(index)


def test_a_missing_part_names_the_files_that_were_looked_for(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}_fold1.csv")
    (tmp_path / "test_fold1.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no split of train, val and test; .*test_fold1\.csv"):
        _read(index, tmp_path, 1)


def test_a_table_without_image_column_names_the_columns_it_needs(index: pd.DataFrame, tmp_path: Path) -> None:
    _write(tmp_path, "{part}.csv", column="file")
    with pytest.raises(ValueError, match=r"train\.csv has none of the columns path, image, image_id"):
        _read(index, tmp_path)


@pytest.mark.parametrize("name", ["split.csv", "split.parquet"])
def test_an_exported_split_is_read_back_identically(tmp_path: Path, name: str) -> None:
    index, _ = read_index(DATASETS["digits"], tmp_path)
    export(DIGITS, tmp_path, tmp_path / name)
    own = split(index, fold=3, fraction=0.2, name="digits")
    assert split(index, fold=0, protocol=f"files:{name}", root=tmp_path, name="digits").equals(own)


def test_both_forms_have_one_fingerprint_that_changes_with_a_part(tmp_path: Path) -> None:
    known = {export(DIGITS, tmp_path, tmp_path / name) for name in ("split.csv", "split.parquet")}
    table = pd.read_parquet(tmp_path / "split.parquet")
    assert known == {fingerprint(table), fingerprint(table.sample(frac=1, random_state=1))}
    table.loc[0, "part"] = "test" if table["part"][0] != "test" else "val"
    assert fingerprint(table) not in known


def test_the_first_line_of_text_says_where_a_split_comes_from(tmp_path: Path) -> None:
    known = export(DIGITS, tmp_path, tmp_path / "split.csv")
    first = (tmp_path / "split.csv").read_text().splitlines()[0]
    assert first.startswith('# sweeper split {"dataset": "digits", "protocol": "sweeper", "fold": 3, "fraction": 0.2')
    assert known in first


@pytest.mark.parametrize("name", ["split.csv", "split.parquet"])
def test_an_exported_split_that_was_changed_is_refused(tmp_path: Path, name: str) -> None:
    from pyarrow import compute, parquet

    index, _ = read_index(DATASETS["digits"], tmp_path)
    path = tmp_path / name
    export(DIGITS, tmp_path, path)
    if path.suffix == ".csv":
        path.write_text(path.read_text().replace(",val\n", ",test\n", 1))
    else:
        table = parquet.read_table(path)
        swapped = compute.replace_substring(table["part"], "val", "test")
        parquet.write_table(table.set_column(3, "part", swapped), path)  # the metadata stay
    with pytest.raises(ValueError, match="are not those of its fingerprint"):
        split(index, fold=0, protocol=f"files:{path}", name="digits")


def test_a_table_of_one_split_has_fold_0_alone(tmp_path: Path) -> None:
    index, _ = read_index(DATASETS["digits"], tmp_path)
    export(DIGITS, tmp_path, tmp_path / "split.csv")
    with pytest.raises(ValueError, match="holds one split, which is fold 0"):
        split(index, fold=1, protocol=f"files:{tmp_path / 'split.csv'}", name="digits")


def test_the_command_exports_what_its_options_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    write_classes(tmp_path / "own", {"cat": 30, "dog": 30})
    out = tmp_path / "own.csv"
    assert main(["folder:own", str(out), "--protocol", "hidden_v2", "--fold", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: fingerprint ")
    assert pd.read_csv(out, comment="#")["part"].value_counts().to_dict() == {"train": 48, "test": 10, "val": 2}


def test_the_command_says_in_a_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits", str(tmp_path / "out.csv")]) == 1
    assert capsys.readouterr().err == "ValueError: digits has no official split: use fold=1..5\n"
