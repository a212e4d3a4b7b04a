"""The page of a recorded study: whole in one file, every part of the record in it, every number with its run."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import recording
from conftest import make_site
from predicted_tables import predicted
from recorded import record

from analysis import frames
from analysis.account import edge_of
from analysis.page import write_page
from analysis.report import report
from analysis.statistics import bootstrap
from sweeper import gate, last_start, store
from sweeper.cell import LrSearch
from sweeper.data.leakage import Leak
from sweeper.gate import Judged
from sweeper.grid import Sweep, grid
from sweeper.plan import plan
from sweeper.site import Site

STUDY = "small"
REASON = "the publisher cut it so"
CELLS = grid(
    dataset="breastmnist",
    model="cbr_mini",
    source=["imagenet", "random"],
    depth=[2, None],
    seed=range(2),
    lr=LrSearch(low=1e-4, high=1e-2),
)
FAILED, NOT_RUN = CELLS[0].replace(seed=8), CELLS[0].replace(seed=9)


class Elements(HTMLParser):
    """Every element's name and attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.found if attribute in attributes]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("page"))
    store.initialise(site, STUDY)
    file = site.storage / "small.py"
    file.write_text('"""Does <b>depth</b> matter?\n\nA second paragraph.\n\nA third one."""\n')
    sweep = Sweep(name=STUDY, cells=[*CELLS, FAILED, NOT_RUN])
    last_start.record(plan(sweep, site), file, "python -m sweeper.run small.py", site)
    leak = Leak(kind="near", part="test", other="train", images=3, first=("a", "b"))
    split = Judged(
        dataset="breastmnist", size=28, protocol="sweeper", fold=0, files=None, leaks=(leak,), allowed=REASON
    )
    gate.record([split], site, STUDY)
    for cell in CELLS:
        predictions = predicted(2, seed=cell.seed, images=60)
        test = {"auroc": float(bootstrap(predictions, "binary", ["auroc"], resamples=100)["value"].iloc[0])}
        done = recording.epochs_of(cell)
        record(site, STUDY, cell, done=done, test_scores=test, lr=1e-3, predictions=predictions)
    store.fail(site, STUDY, FAILED, "Traceback\nValueError: <nan>", fault="own", attempts=1, tags={})
    return site


@pytest.fixture(scope="module")
def path(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    return write_page(STUDY, out, site, report(STUDY, out, site).files)


@pytest.fixture(scope="module")
def page(path: Path) -> Elements:
    return Elements(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_but_itself(page: Elements, path: Path) -> None:
    assert all(source.startswith("data:") for source in page.values("src"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.found}
    assert not re.search(r"@import|url\(", path.read_text(encoding="utf-8"))


def test_links_within_the_page_lead_somewhere(page: Elements) -> None:
    inside = {link.removeprefix("#") for link in page.values("href") if link.startswith("#")}
    assert inside
    assert inside <= set(page.values("id"))


def test_every_finished_cell_links_to_its_run(page: Elements, site: Site) -> None:
    ends = {link.rsplit("/", 1)[-1] for link in page.values("href") if "/runs/" in link}
    assert set(frames.runs(STUDY, site)["run_id"]) <= ends
    assert f"mlflow ui --backend-store-uri {site.tracking}" in page.text


def test_every_figure_carries_its_picture_and_its_numbers(page: Elements) -> None:
    assert [source[:22] for source in page.values("src")] == ["data:image/png;base64,"]
    assert page.values("download") == ["scores.csv"]


def test_the_answer_comes_before_everything_else(page: Elements) -> None:
    text = " ".join(page.text.split())
    assert text.index("For breastmnist use") < text.index("The question") < text.index("Selection protocol")


def test_the_question_is_the_study_files_own_and_is_no_markup(page: Elements) -> None:
    assert "Does <b>depth</b> matter?" in page.text
    assert "A second paragraph." in page.text
    assert "A third one" not in page.text


def test_an_unfinished_study_says_so_at_once(page: Elements) -> None:
    text = " ".join(page.text.split())
    assert "Not finished: of 10 cells 8 finished, 1 failed, 1 not run yet." in text


def test_failures_stand_with_their_error(page: Elements) -> None:
    assert "ValueError: <nan>" in page.text
    assert FAILED.title() in page.text


def test_what_leaks_stands_with_the_reason_that_allows_it(page: Elements) -> None:
    assert "3 images of test with a near-duplicate in train" in page.text
    assert f"Allowed because: {REASON}." in page.text


def test_what_could_not_be_predicted_is_said(page: Elements) -> None:
    assert "At the last start 10 cells were left and no cell of the study had finished" in page.text


def test_methods_name_the_data_its_source_and_the_corrections(page: Elements) -> None:
    for words in ("Yang", "Holm's method (1979)", "Owen 2007", "8 of 10 declared models"):
        assert words in page.text


def test_a_newer_report_takes_the_place_of_the_older_in_mlflow(path: Path, site: Site) -> None:
    first = store.log_report(site, STUDY, [path])
    path.write_text(path.read_text(encoding="utf-8") + "<!-- newer -->", encoding="utf-8")
    assert store.log_report(site, STUDY, [path]) == first
    assert store.artifact(site, first, "report.html").read_text(encoding="utf-8").endswith("<!-- newer -->")


def test_the_report_is_no_cell_of_its_study(path: Path, site: Site) -> None:
    assert path.exists()
    assert {run.data.tags[store.KEY] for run in store.runs(site, STUDY)} == {cell.key for cell in CELLS}


def test_a_rate_is_at_the_edge_within_a_tenth_of_its_decades() -> None:
    """From 1e-4 to 1e-2 are two decades, a tenth of which is a factor of 10 ** 0.2 = 1.58."""
    rates = (1e-4, 1.5e-4, 1.7e-4, 1e-3, 6e-3, 6.5e-3, 1e-2, float("nan"))
    assert [edge_of(rate, 1e-4, 1e-2) for rate in rates] == ["lower", "lower", "", "", "", "upper", "upper", ""]


def test_a_question_is_the_first_two_paragraphs() -> None:
    assert last_start.question_of('"""One\n line.\n\nTwo.\n\nThree."""') == "One line.\nTwo."
    assert last_start.question_of("x = 1") == ""
