"""`python -m sweeper.data NAME`, as a person uses it, on sets written here and on real ones."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd
import pytest
from commanded import data_folder, remark, row_of, said
from conftest import make_site
from fakes import draw, noise, write_classes, write_fake, write_text
from PIL import Image

from sweeper.data import DATASETS
from sweeper.data.__main__ import main
from sweeper.data.dataset import read_index
from sweeper.data.looking import SIDE, look_at, look_at_all
from sweeper.data.verifying import Verified, by_class, counts, verify

OWN = "folder:own"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return data_folder(tmp_path, monkeypatch)


@pytest.fixture
def own(data: Path) -> Path:
    """Two classes in two official parts, three images in each."""
    for seed, part in enumerate(("train", "test")):
        for number in range(3):
            draw(data / "own" / part / "cat" / f"{number}.png", 100 * seed + number)
            draw(data / "own" / part / "dog" / f"{number}.png", 100 * seed + 50 + number)
    return data / "own"


def smooth(size: int) -> np.ndarray:
    """Waves, uint8: an image with large shapes."""
    x, y = np.meshgrid(*[np.linspace(0, 6, size)] * 2)
    return (127 + 60 * np.sin(x) + 60 * np.cos(1.7 * y + x)).astype(np.uint8)


class TestVerify:
    def test_a_sound_set_ends_with_0(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert said(capsys, OWN, code=0).endswith("folder:own is sound")

    def test_the_contact_sheet_lies_where_it_is_said_to(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = said(capsys, OWN, "--out", str(tmp_path / "here"), code=0)
        sheet = tmp_path / "here" / "folder_own.png"
        assert f"contact sheet: {sheet}" in text
        with Image.open(sheet) as image:
            image.load()

    def test_images_are_counted_per_class_and_part(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        draw(own / "train" / "dog" / "more.png", 999)
        text = said(capsys, OWN, code=0)
        assert row_of(text, "dog") == ["dog", "4", "3", "7"]
        assert row_of(text, "all") == ["all", "7", "6", "13"]

    def test_other_counts_than_published_are_a_fault(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_fake("busi", data)
        text = said(capsys, "busi", code=3)
        assert row_of(text, "benign") == ["benign", "12", "570", "-558"]
        assert "FAULT: 2 of 2 classes differ" in remark(text, "counts")

    def test_counts_as_published_are_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert remark(said(capsys, "digits_0_4", code=0), "counts").endswith("as published")

    def test_each_file_that_cannot_be_read_is_a_named_fault(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cut = draw(own / "train" / "cat" / "cut.jpg", 7, height=64, width=64)
        cut.write_bytes(cut.read_bytes()[:-300])
        (own / "test" / "dog" / "empty.png").write_bytes(b"")
        found = remark(said(capsys, OWN, code=3), "unreadable")
        assert "FAULT: 2 images" in found
        assert "train/cat/cut.jpg: image " in found
        assert "test/dog/empty.png: image " in found

    def test_of_many_unreadable_files_twenty_are_named(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(23):
            (own / "train" / "cat" / f"no{number:02d}.png").write_bytes(b"")
        found = remark(said(capsys, OWN, code=3), "unreadable").splitlines()
        assert "23 images" in found[0]
        assert len(found) == 22
        assert found[-1].strip() == "and 3 more"

    def test_a_set_without_a_readable_image_is_told_all_the_same(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for file in own.rglob("*.png"):
            file.write_bytes(b"")
        assert "12 images" in remark(said(capsys, OWN, code=3), "unreadable")

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_a_constant_image_is_named(self, own: Path, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
        Image.new("RGB", (9, 9), (10, 10, 10)).convert(mode).save(own / "train" / "cat" / "flat.png")
        assert remark(said(capsys, OWN, code=0), "constant").split()[1:] == ["1", "image", "train/cat/flat.png"]

    def test_equal_pixels_across_parts_are_a_fault_whatever_the_format(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Image.open(own / "train" / "cat" / "0.png") as image:
            image.save(own / "test" / "cat" / "copy.bmp")
        found = remark(said(capsys, OWN, code=3), "duplicates")
        assert "1 group, 1 of them across official parts, 0 with different labels" in found
        assert "test/cat/copy.bmp = train/cat/0.png" in found

    def test_equal_pixels_within_a_part_are_told_and_no_fault(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (own / "train" / "cat" / "copy.png").write_bytes((own / "train" / "cat" / "0.png").read_bytes())
        found = remark(said(capsys, OWN, code=0), "duplicates")
        assert "2 images have the pixels of others: 1 group, 0 of them across official parts" in found

    def test_equal_pixels_with_different_labels_are_a_fault(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (own / "train" / "dog" / "copy.png").write_bytes((own / "train" / "cat" / "0.png").read_bytes())
        found = remark(said(capsys, OWN, code=3), "duplicates")
        assert "0 of them across official parts, 1 with different labels" in found
        assert "train/cat/0.png (cat) = train/dog/copy.png (dog)" in found

    def test_without_official_parts_equal_pixels_of_two_patients_are_a_fault(
        self, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_classes(data / "own", {"cat": 3, "dog": 3})
        (data / "own" / "cat" / "copy.png").write_bytes((data / "own" / "cat" / "000.png").read_bytes())
        assert "FAULT: 2 images" in remark(said(capsys, OWN, code=3), "duplicates")

    def test_without_official_parts_equal_pixels_of_one_patient_are_none(
        self, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_classes(data / "own", {"cat": 3, "dog": 3})
        (data / "own" / "cat" / "copy.png").write_bytes((data / "own" / "cat" / "000.png").read_bytes())
        rows = ("cat/000.png,cat,a", "cat/copy.png,cat,a", "dog/000.png,dog,b", "dog/001.png,dog,c")
        write_text(data / "own" / "own.csv", "image,label,patient", *rows)
        assert "1 group, 0 of them across patients" in remark(said(capsys, "table:own/own.csv", code=0), "duplicates")

    def test_an_image_with_a_little_noise_in_another_part_is_a_fault(
        self, own: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        waves = smooth(128)
        Image.fromarray(waves).save(own / "train" / "cat" / "waves.png")
        Image.fromarray(waves + noise(1, 128, 128) % 3).save(own / "test" / "cat" / "again.png")
        found = remark(said(capsys, OWN, code=3), "near-duplicates")
        assert "FAULT: 1 pair of images" in found
        assert "test/cat/again.png ~ train/cat/waves.png" in found

    def test_colour_in_a_grey_set_is_told_with_its_strength(
        self, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = data / "Dataset_BUSI_with_GT"
        write_classes(folder, {"benign": 2, "malignant": 2, "normal": 2}, mode="L")
        pixels = np.full((5, 5, 3), 90, np.uint8)
        pixels[2, 2] = 90, 131, 90
        Image.fromarray(pixels).save(folder / "benign" / "mark.png")
        found = remark(said(capsys, "busi", code=3), "channels")
        assert "1 image of this grey set with channels that differ (by up to 41 of 255)" in found
        assert "benign/mark.png: by 41" in found

    def test_grey_stored_as_colour_is_told_apart_from_colour(
        self, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = data / "Dataset_BUSI_with_GT"
        write_classes(folder, {"benign": 2, "malignant": 2, "normal": 2}, mode="L")
        for number in range(3):
            Image.fromarray(noise(number, 8, 8)).convert("RGB").save(folder / "benign" / f"three{number}.png")
        found = remark(said(capsys, "busi", code=3), "channels")
        assert "no images of this grey set with channels that differ; 3 images stored as colour" in found

    def test_grey_in_a_colour_set_is_named(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        draw(own / "train" / "cat" / "grey.png", 5, mode="L")
        found = remark(said(capsys, OWN, code=0), "channels")
        assert "1 image of this colour set with three equal channels" in found
        assert "train/cat/grey.png" in found

    def test_sizes_and_modes_are_told(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        draw(own / "train" / "cat" / "large.png", 5, height=40, width=60)
        draw(own / "train" / "cat" / "small.png", 6, height=4, width=3, mode="L")
        text = said(capsys, OWN, code=0)
        assert "from 3 x 4 to 60 x 40 pixels, width x height; 3 sizes, most often 10 x 12 (12 images)" in text
        assert remark(text, "modes").split(maxsplit=1)[1] == "RGB (13), L (1)"

    def test_the_mode_of_a_dicom_file_is_its_own(self, data: Path, tmp_path: Path) -> None:
        write_fake("cbis_ddsm", data)
        modes = set(verify(DATASETS["cbis_ddsm_mass"], make_site(tmp_path, data)).sound["mode"])
        assert any(re.fullmatch(r"DICOM MONOCHROME[12] \d+ bits", mode) for mode in modes)

    def test_patients_in_two_parts_are_told(self, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [f"{part}/{name}/0.png,{name},{who},{part}" for part, name, who in
                (("train", "cat", "a"), ("train", "dog", "b"), ("test", "cat", "a"), ("test", "dog", "c"))]  # fmt: skip
        write_text(own / "own.csv", "image,label,patient,part", *rows)
        found = remark(said(capsys, "table:own/own.csv", code=0), "patients")
        assert "3 for 4 images; 1 are in several official parts (first: a)" in found


class TestEnds:
    def test_a_set_that_is_not_there_ends_with_1_and_one_sentence(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["busi"]) == 1
        assert re.fullmatch(r"FileNotFoundError: data set 'busi' was not found; .*\n", capsys.readouterr().err)

    def test_an_index_that_is_wrong_ends_with_1(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (data / "own").mkdir()
        assert main([OWN]) == 1
        assert "needs at least two class folders" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["brestmnist"], "did you mean breastmnist"),
            (["folder:"], "names no folder"),
            (["busi", "--missing"], "leave the name out"),
            (["busi", "--size", "5"], "at least 64 pixels"),
        ],
    )
    def test_a_mistake_in_the_command_ends_with_2(
        self, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err

    def test_the_command_itself_ends_with_the_code(self, own: Path) -> None:
        (own / "train" / "cat" / "empty.png").write_bytes(b"")
        done = subprocess.run([sys.executable, "-m", "sweeper.data", OWN], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert done.stderr == ""


def test_many_images_are_read_in_processes_as_one_reads_them(data: Path) -> None:
    write_classes(data / "own", {"cat": 150, "dog": 150})
    (data / "own" / "cat" / "empty.png").write_bytes(b"")
    index, _ = read_index(DATASETS[OWN], data)
    with TemporaryFile() as small:
        found = look_at_all(DATASETS[OWN], data, index, small)
        small.seek(0)
        pixels = small.read()
    alone = [look_at(DATASETS[OWN], data, image) for image in index["image"]]
    for column in ("error", "height", "width", "mode", "spread", "constant", "digest"):
        assert list(found[column]) == [getattr(look, column) for look in alone]
    assert pixels == b"".join(look.small for look in alone)
    assert len(pixels) == 300 * SIDE**2


def test_an_image_of_several_classes_counts_in_each() -> None:
    dataset = replace(DATASETS["digits"], classes=("a", "b"), task="multilabel", counts={"a": 2, "b": 9})
    images = pd.DataFrame(
        {"image": list("wxyz"), "part": None, "error": "", "target_0": [1, 1, 0, 0], "target_1": [1, 0, -1, 0]}
    )
    verified = Verified(dataset=dataset, classes=("a", "b"), images=images, twins=pd.DataFrame())
    assert {label: list(own["image"]) for label, own in by_class(verified, images).items()} == {
        "a": ["w", "x"],
        "b": ["w"],
    }
    assert counts(verified)["difference"].to_dict() == {"a": 0, "b": -8}


def test_the_real_breastmnist_has_the_published_counts(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEPER_DATA", str(shared_data))
    assert remark(said(capsys, "breastmnist", code=3), "counts").endswith("as published")


def test_an_image_of_the_real_breastmnist_has_two_labels(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEPER_DATA", str(shared_data))
    found = remark(said(capsys, "breastmnist", code=3), "duplicates")
    assert "test/000076 (normal, benign) = train/000115 (malignant)" in found
