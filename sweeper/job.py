"""What a worker is given to do, and what it reports: one rate trial or one cell.

Which comes when is `jobs`' business; the worker alone imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.cell import Cell
from sweeper.outcome import Devices, Fault, Outcome, RateTrial, Trained
from sweeper.rates import Ask
from sweeper.site import Site
from sweeper.work import moved


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell that could not be trained."""

    cell: Cell
    error: str
    """The last line says what went wrong; a traceback stands above it where there is one."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What all jobs of a sweep have in common."""

    study: str
    site: Site
    work: Path
    """The folder of work in flight."""
    devices: Devices
    tags: Mapping[str, str]
    """Commit and versions."""


@dataclass(frozen=True, kw_only=True)
class RateJob:
    """One rate trial."""

    ask: Ask
    orders: Orders
    parts: int = 1
    moves: int = 0
    """As of a cell."""

    @property
    def name(self) -> str:
        return f"{self.ask.setting}-rate{self.ask.number}"

    @property
    def folder(self) -> Path:
        return moved(self.orders.work / self.name, self.moves)

    def run(self) -> RateTrial:
        """Trains and scores at the asked rate, or goes through the asked rates, in this process."""
        from sweeper import finetune  # torch: in the worker alone

        ask, orders = self.ask, self.orders
        return finetune.try_rate(
            ask.cell,
            orders.site,
            lr=ask.lr,
            floor=ask.floor,
            folder=self.folder,
            devices=orders.devices,
            tags=orders.tags,
            parts=self.parts,
            rates=ask.rates,
        )


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """One cell at its rate."""

    cell: Cell
    lr: float
    orders: Orders
    parts: int = 1
    moves: int = 0
    """How often it was lost with the machine under it, and its folder renamed: that machine may only be out of reach,
    and its worker, still at it, finds no folder then."""

    @property
    def name(self) -> str:
        return self.cell.title()

    @property
    def folder(self) -> Path:
        return moved(self.orders.work / self.cell.key, self.moves)

    def run(self) -> Trained:
        """Trains the cell, in this process, and leaves its sealed folder."""
        from sweeper import finetune  # torch: in the worker alone

        orders = self.orders
        return finetune.fit(
            self.cell,
            orders.site,
            lr=self.lr,
            folder=self.folder,
            devices=orders.devices,
            tags=orders.tags,
            parts=self.parts,
        )


Job = RateJob | CellJob


def cell_of(job: Job) -> Cell:
    """The cell that a job trains; of a rate trial, the one that the rate is sought with."""
    return job.cell if isinstance(job, CellJob) else job.ask.cell


def counted_as(job: Job) -> str:
    """The name under which a job's attempts are counted: a cell's goes on from run to run."""
    return job.cell.key if isinstance(job, CellJob) else job.name


def elsewhere(job: Job) -> Job:
    """The same job for another worker, out of reach of the one that had it."""
    again = replace(job, moves=job.moves + 1)
    job.folder.rename(again.folder)
    return again


def trained_in(folder: Path) -> Trained:
    """What the worker that sealed a folder would have told, had it lived to."""
    outcome = Outcome.from_json((folder / "outcome.json").read_text())
    speed = outcome.epochs[-1].images_per_second
    return Trained(seconds=outcome.seconds, spent=outcome.seconds, epochs=len(outcome.epochs), images_per_second=speed)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a job."""

    told: RateTrial | Trained | None = None
    error: str = ""
    fault: Fault | None = None
    """None when it went well."""
    node: str = ""
    """Where the job has read its images, if that is one node and known."""


DIED = Report(error="the process that ran it died (killed, or out of memory); Ray's logs say more", fault="system")


@dataclass(kw_only=True)
class Spent:
    """Where the time of a sweep went."""

    seconds: float = 0.0
    """Training and evaluation alone, of all jobs."""
    cells: int = 0
    trials: int = 0
