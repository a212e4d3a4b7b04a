"""What probes with a picture leave of recorded states: the picture, and beside it the right numbers."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from states import CELLS, recorded_site

from sweeper import Embedding, Filters, GradCam
from sweeper.data.loading import load
from sweeper.ledger import Finished
from sweeper.pairing import Ask
from sweeper.probe_types import Pictured
from sweeper.probes.answers import answer
from sweeper.probes.asked import needed
from sweeper.probes.making import make, tasks
from sweeper.probes.pictures import COLOURS, Map, maps_png, plane_png, planes_png
from sweeper.site import Site

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, dict[str, Finished]]:
    return recorded_site(tmp_path_factory.mktemp("pictured"), CELLS[:2])


def files(probe: Pictured, recorded: tuple[Site, dict[str, Finished]], cell: int = 0) -> dict[str, bytes]:
    site, runs = recorded
    ask = Ask(probe=probe, cell=CELLS[cell])
    for task in tasks(needed(ask, runs, site), site):
        make(task, site, CPU)
    return dict(answer(ask, runs, site).files)


def maps_of(probe: GradCam, recorded: tuple[Site, dict[str, Finished]], cell: int = 0) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(files(probe, recorded, cell)["-maps.npz"])))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_every_image_of_the_part_has_a_place_in_the_plane_and_its_own_class(
    recorded: tuple[Site, dict[str, Finished]],
) -> None:
    found = files(Embedding(), recorded)
    table = pd.read_parquet(io.BytesIO(found["-points.parquet"]))
    part = load(CELLS[0].images, recorded[0]).test
    assert table["image"].tolist() == part.names
    assert table["class"].tolist() == [str(label) for label in part.labels]
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
    assert pixels(found[".png"]).std() > 0


def test_all_cells_show_the_same_images_and_fewer_are_among_more(recorded: tuple[Site, dict[str, Finished]]) -> None:
    one, other = (maps_of(GradCam(images=6), recorded, cell) for cell in (0, 1))
    assert one["images"].tolist() == other["images"].tolist()
    assert set(maps_of(GradCam(images=3), recorded)["images"]) < set(one["images"])
    assert not np.array_equal(one["maps"], other["maps"])


def test_named_images_are_shown_and_a_name_of_another_part_is_refused(
    recorded: tuple[Site, dict[str, Finished]],
) -> None:
    data = load(CELLS[0].images, recorded[0])
    wanted = (data.test.names[5], data.test.names[2])
    found = maps_of(GradCam(named=wanted, of="label"), recorded)
    assert found["images"].tolist() == sorted(wanted)
    np.testing.assert_array_equal(found["classes"], data.test.labels[[2, 5]])
    np.testing.assert_array_equal(found["classes"], found["labels"])
    with pytest.raises(ValueError, match=rf"'{data.val.names[0]}' is not in the test part of 'digits_0_4', fold 1"):
        files(GradCam(named=(data.val.names[0],)), recorded)


def test_pictures_are_equal_for_equal_states(recorded: tuple[Site, dict[str, Finished]]) -> None:
    for probe in (Embedding(), GradCam(), Filters()):
        assert files(probe, recorded)[".png"] == files(probe, recorded)[".png"]


def test_filters_are_those_of_the_first_convolution(recorded: tuple[Site, dict[str, Finished]]) -> None:
    site, runs = recorded
    ask = Ask(probe=Filters(), cell=CELLS[0])
    rows = answer(ask, runs, site).rows
    state = load_file(Path(site.storage, "artifacts/probed", runs[CELLS[0].key].run_id, "artifacts/best.safetensors"))
    first = next(value for value in state.values() if value.ndim == 4 and value.shape[1] == 3)
    assert rows["value"].tolist() == [len(first)]


def test_dots_of_a_class_have_its_colour_and_no_other_colour_is_drawn() -> None:
    points = np.random.default_rng(0).normal(size=(600, 2))
    drawn = pixels(plane_png(points, np.zeros(600, dtype=int), ["a"], title="", x="", y="")).reshape(-1, 3)
    blue = np.array([int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)])
    coloured = drawn[np.ptp(drawn, axis=1) > 40].astype(float)
    shades = (255 - coloured) / (255 - blue).clip(1)  # of one colour over white all channels have one share
    assert len(coloured) > 1000
    assert np.ptp(shades, axis=1).max() < 0.05


def test_a_plane_a_class_has_the_colour_of_a_class_where_an_image_is_of_it_and_nowhere_else() -> None:
    points = np.random.default_rng(0).normal(size=(40, 2))
    of_both, of_first, of_none = np.ones((40, 2)), np.array([[1.0, 0.0]] * 40), np.zeros((40, 2))
    known = [pixels(planes_png(points, labels, ["a", "b"], title="", x="", y="")) for labels in (of_both, of_first)]
    unknown = pixels(planes_png(points, np.full((40, 2), np.nan), ["a", "b"], title="", x="", y=""))
    none = pixels(planes_png(points, of_none, ["a", "b"], title="", x="", y=""))
    orange = np.array([int(COLOURS[1][place : place + 2], 16) for place in (1, 3, 5)])
    coloured = [(np.abs(each.astype(int) - orange).max(axis=2) < 8) for each in (*known, none, unknown)]
    legend = coloured[3].sum()  # of which nothing is known: the sign in the legend alone
    both, first, last = (each.sum() - legend for each in coloured[:3])
    assert both == pytest.approx(2 * first, rel=0.05)
    assert first == pytest.approx(last, rel=0.05)  # the last panel is of images of no class
    assert first > 1000
    thirds = [each[: each.shape[0] // 2].sum(axis=0) for each in (coloured[1], coloured[2])]
    assert np.average(np.arange(len(thirds[0])), weights=thirds[0]) < len(thirds[0]) / 3
    assert np.average(np.arange(len(thirds[1])), weights=thirds[1]) > 2 * len(thirds[1]) / 3


def test_a_map_is_hot_where_its_value_is_and_an_image_without_evidence_is_said_to_have_none() -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    values = np.zeros((4, 4))
    values[0, 3] = 2.0
    sheets = [
        pixels(maps_png([Map(title="one", pixels=grey, values=each)], title="t")).astype(int)
        for each in (values, values[:, ::-1], np.zeros((4, 4)))
    ]
    warmth = [sheet[..., 0] - sheet[..., 2] for sheet in sheets]  # red above blue
    places = [np.argwhere(each > 60).mean(axis=0) for each in warmth[:2]]
    assert abs(places[0][0] - places[1][0]) < 3
    assert places[0][1] - places[1][1] > 60
    assert not (warmth[2] > 60).any()
    assert (sheets[2][sheets[2].shape[0] // 2 :] == 255).sum() > 0
