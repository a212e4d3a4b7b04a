"""Before anything is trained: every data set decoded, every split made, and judged for what its parts share.

What leaks is found in `data.leakage`; here is decided who may go on with it, and it is kept with the study.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sweeper import store
from sweeper.cell import Images, digest
from sweeper.data import DATASETS
from sweeper.data.cache import Cached, cached
from sweeper.data.kept_splits import parts_of
from sweeper.data.leakage import Leak, leaks, twins_of
from sweeper.data.protocols import FILES
from sweeper.data.split_files import files_of
from sweeper.grid import StudyError, Sweep
from sweeper.pairing import Ask, asks, other_images
from sweeper.site import Site

SPLIT = "sweeper.split"
"""What the tags of a study begin with that tell of its splits."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One split of one data set at one size, all of its training images used."""

    dataset: str
    size: int
    protocol: str
    fold: int
    files: str | None
    """64 hex digits of the files that make the split, if files do."""
    leaks: tuple[Leak, ...]
    allowed: str | None = None
    """The sweep's reason, where there are leaks."""

    @property
    def name(self) -> str:
        """What tells it from the other splits of a study."""
        return f"{self.dataset} at {self.size} px, {self.protocol} fold {self.fold}"


def judge(sweeps: Sequence[Sweep], site: Site, say: Callable[[str], None]) -> dict[str, list[Judged]]:
    """The splits of each sweep, by its name; every data set is decoded first where it is not yet.

    Splits are judged with all of their training images: a fraction has a part of them.

    Args:
        say: takes the sentences that tell what is there and what leaks.

    Raises:
        StudyError: when a split leaks and its sweep does not allow it, naming everything that does; or when a part has
            too few images for a probe, or is of a task that the probe is not for.
        FileNotFoundError: when a data set or a file of a split is not there.
        ValueError: when a set cannot be decoded or cut.
    """
    for images in dict.fromkeys(each for sweep in sweeps for each in other_images(sweep.cells, sweep.probes)):
        parts_of(cached(DATASETS[images.dataset], images.size, site), images, site)
    known: dict[Images, Judged] = {}
    found = {sweep.name: [_allowed(each, sweep) for each in _splits_of(sweep, known, site, say)] for sweep in sweeps}
    for each in sorted({judged.name: judged for own in found.values() for judged in own if judged.leaks}.items()):
        say(f"{each[0]}: {'; '.join(map(str, each[1].leaks))}")
    refused = [line for sweep in sweeps if not sweep.allow_leakage for line in _refusals(sweep.name, found[sweep.name])]
    refused += dict.fromkeys(line for sweep in sweeps for line in _shortages(sweep, site))
    if refused:
        raise StudyError("\n".join(refused))
    return found


def refuse_changed(splits: Sequence[Judged], site: Site, study: str) -> None:
    """Cells that were trained on other parts under the same name must not stand beside new ones.

    Raises:
        ValueError: when the files of a split are not those of an earlier start.
    """
    before: Mapping[str, str] = store.patiently(lambda: store.notes(site, study), site)
    for each in splits:
        then = json.loads(before[_tag(each)])["files"] if _tag(each) in before else each.files
        if then != each.files:
            raise ValueError(
                f"study '{study}': the files of {each.name} have changed since the study was begun; put them back, "
                "name the study anew, or train its cells again with --again stale"
            )


def record(splits: Sequence[Judged], site: Site, study: str) -> None:
    """Keeps with a study what was found in its splits, and why that is allowed."""
    notes = {_tag(each): json.dumps(asdict(each), sort_keys=True) for each in splits}
    store.patiently(lambda: store.note(site, study, notes), site)


def _splits_of(sweep: Sweep, known: dict[Images, Judged], site: Site, say: Callable[[str], None]) -> Iterator[Judged]:
    """Each split of a sweep; all cuts of it that cells use are made as well, for what may be wrong with them."""
    cuts = dict.fromkeys(replace(cell.images, augment="none", pixels="source") for cell in sweep.cells)
    wholes = dict.fromkeys(replace(cut, fraction=1.0, shots=None) for cut in cuts)
    for dataset, size in dict.fromkeys((cut.dataset, cut.size) for cut in cuts):
        images = cached(DATASETS[dataset], size, site)
        if not any((each.dataset, each.size) == (dataset, size) for each in known):
            say(f"{dataset}: {len(images.index)} images at {size} px, fingerprint {images.fingerprint}")
        for cut in (each for each in cuts if (each.dataset, each.size) == (dataset, size) and each not in wholes):
            parts_of(images, cut, site)
        for whole in (each for each in wholes if (each.dataset, each.size) == (dataset, size)):
            if whole not in known:
                known[whole] = _judged(images, whole, site)
            yield known[whole]


def _shortages(sweep: Sweep, site: Site) -> Iterator[str]:
    """What the sweep's probes would be refused for, once all cells are trained."""
    if not sweep.probes:
        return
    from sweeper.shortages import shortages

    wholes: dict[tuple[str, int], Cached] = {}
    counts: dict[Images, Mapping[str, int]] = {}
    for ask in _different(asks(sweep.cells, sweep.probes)):
        cut = replace(ask.cell.images, augment="none", pixels="source")
        if (cut.dataset, cut.size) not in wholes:  # looking whether its files changed takes long
            wholes[cut.dataset, cut.size] = cached(DATASETS[cut.dataset], cut.size, site)
        whole = wholes[cut.dataset, cut.size]
        if cut not in counts:
            counts[cut] = {str(part): int(n) for part, n in parts_of(whole, cut, site).value_counts().items()}
        for text in shortages(ask, counts[cut], whole.task):
            yield f"study '{sweep.name}': probe {ask.probe.name}: {text}"


def _different(wanted: Sequence[Ask]) -> Iterable[Ask]:
    """One ask of each probe, data and networks: what they can be refused for depends on nothing else."""
    kept = ((each.probe, each.cell.images, tuple(cell.network for cell in each.cells)) for each in wanted)
    return dict(zip(kept, wanted, strict=True)).values()


def _judged(images: Cached, whole: Images, site: Site) -> Judged:
    found = leaks(images.index, parts_of(images, whole, site), twins_of(images))
    return Judged(
        dataset=whole.dataset,
        size=whole.size,
        protocol=whole.protocol,
        fold=whole.fold,
        files=_files_digest(whole, site),
        leaks=tuple(found),
    )


def _files_digest(whole: Images, site: Site) -> str | None:
    if not whole.protocol.startswith(FILES):
        return None
    told = hashlib.sha256()
    for path in files_of(whole.protocol.removeprefix(FILES), whole.fold, site.data):
        told.update(hashlib.sha256(path.read_bytes()).digest())
    return told.hexdigest()


def _allowed(judged: Judged, sweep: Sweep) -> Judged:
    return replace(judged, allowed=sweep.allow_leakage) if judged.leaks else judged


def _refusals(study: str, splits: Sequence[Judged]) -> Iterator[str]:
    for each in splits:
        if each.leaks:
            yield (
                f"study '{study}': {each.name}: {'; '.join(map(str, each.leaks))}; cut the set otherwise, or say why "
                'this may be with Sweep(allow_leakage="reason")'
            )


def _tag(judged: Judged) -> str:
    return f"{SPLIT}.{digest(judged.name)}"
