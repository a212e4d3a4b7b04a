"""Tables that a search space names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import draw, write_text

from sweeper.data import DATASETS
from sweeper.data.cache import cached
from sweeper.data.dataset import read_index, target_columns
from sweeper.data.picture import decode_file
from sweeper.site import Site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        draw(tmp_path / "own" / "images" / f"{number}.png", number)
    return tmp_path / "own"


def _index(folder: Path, *lines: str) -> pd.DataFrame:
    write_text(folder / "a.csv", *lines)
    return DATASETS["table:own/a.csv"].index(folder.parent)


def test_images_lie_beside_the_table(folder: Path) -> None:
    _index(folder, "image,label", "images/0.png,x", "images/1.png,y")
    decoded = DATASETS["table:own/a.csv"].decode(folder.parent, "images/1.png")
    np.testing.assert_array_equal(decoded, decode_file(folder / "images" / "1.png", 3))


def test_an_absolute_path_of_an_image_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    image = draw(tmp_path / "elsewhere" / "a.png", 9)
    _index(folder, "image,label", f"{image},x", "images/1.png,y")
    decoded = DATASETS["table:own/a.csv"].decode(folder.parent, str(image))
    np.testing.assert_array_equal(decoded, decode_file(image, 3))


def test_the_table_may_be_named_by_an_absolute_path(folder: Path, tmp_path: Path) -> None:
    path = write_text(folder / "a.csv", "image,label", "images/0.png,x", "images/1.png,y")
    assert len(DATASETS[f"table:{path}"].index(tmp_path / "elsewhere")) == 2


def test_without_patients_and_parts_each_image_is_its_own_and_has_none(folder: Path) -> None:
    index = _index(folder, "image,label", "images/0.png,x", "images/1.png,y")
    assert list(index["patient"]) == list(index["image"])
    assert index["part"].isna().all()


def test_patients_and_parts_are_read(folder: Path) -> None:
    rows = ("images/0.png,x,test,7", "images/1.png,y,train,8")
    index = _index(folder, "image,label,part,patient", *rows)
    assert index[["patient", "part"]].to_numpy().tolist() == [["7", "test"], ["8", "train"]]


def test_classes_are_the_labels_sorted(folder: Path) -> None:
    _index(folder, "image,label", "images/0.png,y", "images/1.png,x")
    assert read_index(DATASETS["table:own/a.csv"], folder.parent)[1] == ("x", "y")


def test_a_parquet_table_with_numbers_as_labels_is_read(folder: Path) -> None:
    table = pd.DataFrame({"image": ["images/0.png", "images/1.png"], "label": [0, 1]})
    table.to_parquet(folder / "a.parquet")
    assert list(DATASETS["table:own/a.parquet"].index(folder.parent)["label"]) == ["0", "1"]


def test_it_is_decoded_into_the_cache(folder: Path, site: Site) -> None:
    path = write_text(folder / "a.csv", "image,label", *(f"images/{n}.png,{n % 2}" for n in range(4)))
    whole = cached(DATASETS[f"table:{path}"], 8, site)
    assert whole.pixels.shape == (4, 8, 8, 3)
    assert list(whole.index["target"]) == [0, 1, 0, 1]


SEVERAL = "table:own/a.csv?labels=wet|dry air"


def _several(folder: Path, *rows: str, header: str = "image,dry air,other,wet") -> pd.DataFrame:
    write_text(folder / "a.csv", header, *rows)
    return DATASETS[SEVERAL].index(folder.parent)


def test_columns_that_the_name_tells_are_the_labels(folder: Path) -> None:
    rows = ("images/0.png,1,x,0", "images/1.png,0,y,0", "images/2.png,1.0,,1", "images/3.png,0,,True")
    assert list(_several(folder, *rows)["label"]) == ["dry air", "", "wet|dry air", "wet"]


def test_the_classes_of_several_labels_have_the_order_of_the_name(folder: Path) -> None:
    _several(folder, "images/0.png,1,x,0", "images/1.png,0,y,1")
    index, classes = read_index(DATASETS[SEVERAL], folder.parent)
    assert (classes, DATASETS[SEVERAL].task) == (("wet", "dry air"), "multilabel")
    assert index[target_columns(classes)].to_numpy().tolist() == [[0, 1], [1, 0]]


def test_several_labels_of_a_parquet_table_are_read_with_patients_and_parts(folder: Path) -> None:
    table = pd.DataFrame({"image": ["images/0.png", "images/1.png"], "wet": [True, False], "dry air": [0, 1]})
    table.assign(patient=[7, 8], part=["test", "train"]).to_parquet(folder / "a.parquet")
    index = DATASETS["table:own/a.parquet?labels=wet|dry air"].index(folder.parent)
    assert index[["label", "patient", "part"]].to_numpy().tolist() == [["wet", "7", "test"], ["dry air", "8", "train"]]


def test_several_labels_are_decoded_into_the_cache(folder: Path, site: Site) -> None:
    path = write_text(folder / "a.csv", "image,a,b", *(f"images/{n}.png,{n % 2},{n // 2}" for n in range(4)))
    whole = cached(DATASETS[f"table:{path}?labels=a|b"], 8, site)
    assert whole.index[["target_0", "target_1"]].to_numpy().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_a_column_that_the_name_tells_must_be_there(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a\.csv has no column 'wet'; it needs image, wet, dry air and has image, dry air"
    ):
        _several(folder, "images/0.png,1", header="image,dry air")


@pytest.mark.parametrize("value", ["2", "-1", "", "yes", "0.5"])
def test_another_value_than_0_or_1_is_refused_with_its_row(folder: Path, value: str) -> None:
    said = rf"a\.csv: 1 rows have another dry air than 0 or 1 \(first: row 2: '{value}'\); correct the table"
    with pytest.raises(ValueError, match=said):
        _several(folder, "images/0.png,1,,1", f"images/1.png,{value},,1")


def test_a_row_that_repeats_an_image_with_other_labels_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"1 images have several labels \(first: 'images/0\.png': , wet\|dry air\)"):
        _several(folder, "images/0.png,1,,1", "images/0.png,0,,0")


def test_a_table_of_several_labels_that_is_missing_says_how_it_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own/a\.csv; .*named as table:PATH\?labels=A\|B"):
        DATASETS[SEVERAL].index(folder.parent)


def test_a_table_of_several_labels_that_is_not_utf_8_is_refused(folder: Path) -> None:
    (folder / "a.csv").write_bytes("image,wet,dry air\nimages/é.png,1,0\n".encode("cp1252"))
    with pytest.raises(ValueError, match="is not UTF-8 but looks like Windows-1252; save it as UTF-8"):
        DATASETS[SEVERAL].index(folder.parent)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "must name two or more columns"),
        ("wet", "must name two or more columns, as table:PATH\\?labels=A\\|B; a single one is the column label"),
        ("wet|", "must name two or more columns"),
        ("wet|wet", "'wet' is no label; each column stands once"),
        ("wet|patient", "'patient' is no label; .* none of image, patient, part"),
        ("wet|?dry", r"'\?dry' is no label; .* does not begin with '\?'"),
    ],
)
def test_a_name_with_other_columns_is_refused(labels: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DATASETS[f"table:own/a.csv?labels={labels}"]


def test_a_missing_table_says_what_to_put_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own/a\.csv; .*the columns image, label\[, patient, part\] there"):
        DATASETS["table:own/a.csv"].index(folder.parent)


def test_a_folder_instead_of_a_table_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; write folder:PATH"):
        DATASETS["table:own"].index(folder.parent)


def test_missing_images_are_counted_and_the_first_is_named(folder: Path) -> None:
    rows = ("images/0.png,x", "images/8.png,y", "images/9.png,y")
    with pytest.raises(FileNotFoundError, match=rf"2 files that {folder}/a\.csv names .*first: {folder}/images/8\.png"):
        _index(folder, "image,label", *rows)


@pytest.mark.parametrize("column", ["image", "label", "patient"])
def test_an_empty_cell_is_refused_with_its_row(folder: Path, column: str) -> None:
    cells = {"image": "images/1.png", "label": "y", "patient": "8"} | {column: " "}
    with pytest.raises(ValueError, match=rf"a\.csv: 1 rows have no {column} \(first: row 2\); fill it in"):
        _index(folder, "image,label,patient", "images/0.png,x,7", ",".join(cells.values()))


def test_a_repeated_row_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"1 rows repeat an image \(first: 'images/0\.png'\)"):
        _index(folder, "image,label", "images/0.png,x", "images/1.png,y", "images/0.png,x")


@pytest.mark.parametrize("again", ["images/0.png", "./images/0.png", "images/../images/0.png"])
def test_two_labels_of_one_image_are_refused(folder: Path, again: str) -> None:
    with pytest.raises(ValueError, match=r"1 images have several labels \(first: 'images/0\.png': x, y\); keep one"):
        _index(folder, "image,label", "images/0.png,x", "images/1.png,y", f"{again},y")


def test_an_unknown_part_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has the part 'Holdout'; it must be train, .*, val, .*, test"):
        _index(folder, "image,label,part", "images/0.png,x,train", "images/1.png,y,Holdout")


@pytest.mark.parametrize(
    ("told", "part"),
    [("valid", "val"), ("Validation", "val"), ("TRAIN", "train"), ("Training ", "train"), ("Test", "test")],
)
def test_parts_are_called_as_folders_of_parts_are(folder: Path, told: str, part: str) -> None:
    index = _index(folder, "image,label,part", "images/0.png,x,train", f"images/1.png,y,{told}")
    assert index["part"].iloc[1] == part


@pytest.mark.parametrize("nothing", ["nan", "NaN", "<NA>", "NA", "N/A", "NULL"])
@pytest.mark.parametrize("column", ["image", "label", "patient"])
def test_what_a_program_writes_for_a_missing_value_is_none(folder: Path, column: str, nothing: str) -> None:
    cells = {"image": "images/1.png", "label": "y", "patient": "8"} | {column: nothing}
    with pytest.raises(ValueError, match=rf"1 rows have no {column} \(first: row 2: '{nothing}'\); fill it in"):
        _index(folder, "image,label,patient", "images/0.png,x,7", ",".join(cells.values()))


def test_a_table_without_any_part_in_its_column_has_no_official_split(folder: Path) -> None:
    assert _index(folder, "image,label,part", "images/0.png,x,", "images/1.png,y,nan")["part"].isna().all()


def test_space_around_cells_and_names_of_columns_is_none_of_them(folder: Path) -> None:
    rows = ("images/0.png , mild DR ,7", "images/1.png,mild DR, 7", " images/2.png,none,8")
    index = _index(folder, "image, label ,patient ", *rows)
    assert index[["image", "label", "patient"]].to_numpy().tolist() == [
        ["images/0.png", "mild DR", "7"], ["images/1.png", "mild DR", "7"], ["images/2.png", "none", "8"],
    ]  # fmt: skip


def test_a_backslash_stands_between_folders(folder: Path) -> None:
    assert list(_index(folder, "image,label", r"images\0.png,x", r".\images\1.png,y")["image"]) == [
        "./images/1.png", "images/0.png",
    ]  # fmt: skip


def test_one_file_written_with_a_backslash_and_with_a_slash_is_repeated(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"1 rows repeat an image \(first: 'images/0\.png'\)"):
        _index(folder, "image,label", "images/0.png,x", "images/1.png,y", r"images\0.png,x")


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("01", "1"), ("10", "1e1")])
def test_one_number_written_in_two_ways_is_no_two_classes(folder: Path, one: str, other: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.csv: the labels '{one}' and '{other}' are one number; write it in one"):
        _index(folder, "image,label", f"images/0.png,{one}", f"images/1.png,{other}", "images/2.png,0")


def test_patients_that_look_like_numbers_keep_their_zeros(folder: Path) -> None:
    index = _index(folder, "image,label,patient", "images/0.png,x,007", "images/1.png,y,7")
    assert list(index["patient"]) == ["007", "7"]


def test_parts_that_only_some_rows_have_are_refused(folder: Path) -> None:
    _index(folder, "image,label,part", "images/0.png,x,train", "images/1.png,y,", "images/2.png,y,test")
    with pytest.raises(
        ValueError, match=r"1 images are in none of the parts .*\(first: 'images/1\.png'\); give each its"
    ):
        read_index(DATASETS["table:own/a.csv"], folder.parent)


def test_a_single_label_is_refused(folder: Path) -> None:
    _index(folder, "image,label", "images/0.png,x", "images/1.png,x")
    with pytest.raises(ValueError, match=r"own/a\.csv': all images have the label 'x'; it needs two at least"):
        read_index(DATASETS["table:own/a.csv"], folder.parent)


def test_a_jpeg_cut_short_is_named_with_its_place_and_the_remedy(folder: Path) -> None:
    path = draw(folder / "images" / "cut.jpg", 0, height=64, width=64)
    path.write_bytes(path.read_bytes()[:900])
    _index(folder, "image,label", "images/cut.jpg,x", "images/1.png,y")
    with pytest.raises(ValueError, match=rf"image {path} cannot be decoded: .*truncated.*; replace it by a sound copy"):
        DATASETS["table:own/a.csv"].decode(folder.parent, "images/cut.jpg")
