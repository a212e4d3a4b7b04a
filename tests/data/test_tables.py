"""Tables and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fakes import write_text

from sweeper.data.tables import labels_of, labels_of_columns, read_list, read_table, refuse_missing, refuse_repeated

TABLE = pd.DataFrame({"image": ["a", "b"], "label": ["1", "2"], "note": ["", "x"]})


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "parquet"])
def test_every_format_gives_the_same_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        TABLE.assign(label=[1, 2], note=[None, "x"]).to_parquet(path)
    else:
        TABLE.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    pd.testing.assert_frame_equal(read_table(path, list(TABLE.columns)), TABLE, check_dtype=False)


def test_a_line_break_within_quotes_is_kept(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,path", 'a,"x/1.dcm', '"', "b,y")
    assert list(read_table(path, ["path"])["path"]) == ["x/1.dcm\n", "y"]


def test_what_looks_like_a_missing_value_stays_text(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,label", "NA,None", "007,nan")
    assert read_table(path, ["image", "label"]).to_numpy().tolist() == [["NA", "None"], ["007", "nan"]]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("image,label\na,1\n".encode("utf-8-sig"))
    assert list(read_table(tmp_path / "a.csv", ["image"])["image"]) == ["a"]


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,class", "a,1")
    with pytest.raises(ValueError, match=rf"table {path} has no column 'label'; it needs image, label and has image, "):
        read_table(path, ["image", "label"])


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,label, label", "a,1,2")
    with pytest.raises(ValueError, match=rf"table {path} has several columns 'label'; keep one"):
        read_table(path, ["image", "label"])


@pytest.mark.parametrize("row", ["a,1,", "a,1,x"])
def test_a_row_with_more_cells_than_columns_is_refused_and_moves_none(tmp_path: Path, row: str) -> None:
    path = write_text(tmp_path / "a.csv", "image,label", row)
    with pytest.raises(
        ValueError, match=rf"table {path} cannot be read as text: .*Expected 2 fields in line 2, saw 3;"
    ):
        read_table(path, ["image", "label"])


def test_a_last_name_that_is_empty_is_a_column(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,label,", "a,1,", "b,2,")  # as in Data_Entry_2017.csv of NIH
    assert read_table(path, ["image", "label"]).to_numpy().tolist() == [["a", "1"], ["b", "2"]]


def test_columns_without_names_are_named_in_their_order(tmp_path: Path) -> None:
    table = read_table(write_text(tmp_path / "a.csv", "0001,1", "0002,0"), ["exam", "torn"], header=False)
    assert table.to_dict("list") == {"exam": ["0001", "0002"], "torn": ["1", "0"]}


def test_a_missing_unnamed_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no column 'torn'"):
        read_table(write_text(tmp_path / "a.csv", "0001", "0002"), ["exam", "torn"], header=False)


def test_an_optional_column_may_be_absent(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.csv", "image,part", "a,train")
    assert list(read_table(path, ["image"], optional=["patient", "part"])) == ["image", "part"]


@pytest.mark.parametrize(
    ("encoding", "called"),
    [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("latin-1", "ISO 8859-1")],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, called: str) -> None:
    text = "image,label\na,l\xe9sion\n" + ("\x81" if encoding == "latin-1" else "")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=rf"a\.csv is not UTF-8 but looks like {called}; save it as UTF-8"):
        read_table(tmp_path / "a.csv", ["image"])


@pytest.mark.parametrize(("content", "what"), [("", "cannot be read as text"), ("image,label\n", "has no row")])
def test_an_empty_table_is_refused(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.csv {what}"):
        read_table(tmp_path / "a.csv", ["image"])


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet: .*; fetch it again$"):
        read_table(tmp_path / "a.parquet", ["image"])


def test_a_label_outside_the_classes_is_named_with_the_choices() -> None:
    column = pd.Series(["0", "3", "9"], name="grade")
    with pytest.raises(ValueError, match=r"table t: 2 rows have another grade than 0, 1 \(first: '3'\)"):
        labels_of(column, {"0": "no", "1": "yes"}, Path("t"))


@pytest.mark.parametrize("cells", [("1", "1"), ("0", "0"), ("0.5", "0.5"), ("", "1"), ("2", "-1")])
def test_a_row_that_is_not_one_class_is_refused(cells: tuple[str, str]) -> None:
    table = pd.DataFrame({"image": ["a", "b"], "x": ["1", cells[0]], "y": ["0", cells[1]]})
    with pytest.raises(ValueError, match=r"table t: 1 rows have not exactly one 1 among x, y \(first: 'b'\)"):
        labels_of_columns(table, ["x", "y"], Path("t"))


def test_the_class_is_the_column_that_holds_one() -> None:
    table = pd.DataFrame({"image": ["a", "b"], "x": ["1.0", "0"], "y": ["0.0", "1"]})
    assert list(labels_of_columns(table, ["x", "y"], Path("t"))) == ["x", "y"]


def test_repeated_texts_are_counted() -> None:
    with pytest.raises(ValueError, match=r"table t: 2 rows repeat the image of another \(first: 'a'\)"):
        refuse_repeated(pd.Series(["a", "b", "a", "a"], name="image"), Path("t"))


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    files = [tmp_path / "there", tmp_path / "gone", tmp_path / "no" / "folder"]
    with pytest.raises(FileNotFoundError, match=rf"2 files that t names are not there \(first: {tmp_path}/gone\)"):
        refuse_missing(files, "t")


def test_a_name_whose_letters_are_composed_otherwise_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "bo\u0308se.png").touch()  # as macOS writes it
    with pytest.raises(FileNotFoundError, match=r"1 files .*; its letters are composed otherwise than those of"):
        refuse_missing([tmp_path / "b\u00f6se.png"], "t")


def test_a_list_is_its_lines_without_the_empty_ones(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "\ufeffa b.png", "", "  c.png \r")
    assert read_list(path) == ["a b.png", "c.png"]


def test_a_list_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"list .*a\.txt has no line; fetch it again"):
        read_list(write_text(tmp_path / "a.txt", "", " "))


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"PK\x03\x04"])
@pytest.mark.parametrize("read", [read_list, lambda path: read_table(path, ["image"])])
def test_a_packed_file_is_to_be_unpacked(tmp_path: Path, start: bytes, read: Callable[[Path], object]) -> None:
    (tmp_path / "a.csv").write_bytes(start + bytes(range(128, 200)))
    with pytest.raises(ValueError, match=r"a\.csv is no text but a packed file; unpack it"):
        read(tmp_path / "a.csv")
