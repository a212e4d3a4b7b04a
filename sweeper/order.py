"""Which of the cells and rate trials that could run comes first: the longest, and a search before it holds up the end.

What has to be there before a cell could run, and what follows when one ends, is `jobs`' business. Lengths are
expectations, in the unit of `Costs.rank`.
"""

import heapq
import itertools
from collections.abc import Sequence

from sweeper.affinity import NEARLY, Held, take
from sweeper.cell import Cell, LrSearch
from sweeper.costs import Costs
from sweeper.job import CellJob, Job, Orders, RateJob
from sweeper.rates import Search, Searches


class Order:
    """What could run of a sweep and is not begun, and the searches that are."""

    def __init__(self, cells: Sequence[Cell], orders: Orders, *, searches: Searches, costs: Costs, held: Held) -> None:
        """
        Args:
            cells: those to be run; of equals the first comes first.
            held: which node has read which images; told from outside.
        """
        self._orders, self._searches, self._costs, self._held = orders, searches, costs, held
        self._places = {cell.key: number for number, cell in enumerate(cells)}
        self._ready: list[tuple[float, int, Cell, float]] = []
        """Heap of cells with their rate, the longest first."""
        self._settings: list[tuple[float, int, str]] = []
        """Heap of searches that are not begun, the longest first."""
        self._seekers: dict[str, list[Cell]] = {}
        """Setting -> the cells that wait for its rate."""
        self._open: dict[str, Search] = {}
        self._learned = 0
        self._ahead = 0.0
        """Expected time of all these cells."""
        self._ahead_ready = 0.0
        """The same of those whose rate is known."""

    @property
    def left(self) -> bool:
        """Whether anything is still to be begun, or a search to be ended."""
        return bool(self._ready or self._settings or self._open)

    @property
    def able(self) -> int:
        """How many could be begun at once at most; a search that is not begun counts once."""
        return len(self._ready) + len(self._settings) + sum(search.left for search in self._open.values())

    def add(self, cell: Cell, lr: float) -> None:
        """Takes in a cell with its rate."""
        self._ahead += self._costs.rank(cell)
        self._push(cell, lr)

    def seek(self, cell: Cell, setting: str) -> None:
        """Takes in a cell whose rate is to be found first."""
        seekers = self._seekers.setdefault(setting, [])
        if not seekers and setting not in self._open:
            heapq.heappush(self._settings, (-self._path(cell), self._places[cell.key], setting))
        seekers.append(cell)
        self._ahead += self._costs.rank(cell)

    def search(self, setting: str) -> Search | None:
        """The search of a setting, if it is begun and not ended."""
        return self._open.get(setting)

    def found(self, setting: str, lr: float) -> None:
        """Ends a search: its cells could run."""
        self._open.pop(setting, None)
        for cell in self._seekers.pop(setting):
            self._push(cell, lr)

    def give_up(self, setting: str) -> list[Cell]:
        """Ends a search whose rate will not be found; its cells, which leave."""
        self._open.pop(setting, None)
        cells = self._seekers.pop(setting)
        self._ahead -= sum(map(self._costs.rank, cells))
        return cells

    def next(self, node: str, slots: int) -> Job | Search | None:
        """A cell, unless a search would then hold up the end: in that case a rate trial; the other if there is none.

        Args:
            node: where it will run, if that is known: of jobs that are nearly as long as the longest, one whose images
                that node has read goes first.
            slots: how many jobs run at once.

        Returns:
            A search, when an earlier run has ended it: `found` or `give_up` is to be called.
        """
        if self._ready and self._can_wait(slots):
            return self.next_cell(node)
        return self.next_trial(node) or self.next_cell(node)

    def next_cell(self, node: str) -> CellJob | None:
        """The next of the cells whose rate is known."""
        if not self._ready:
            return None
        _, _, cell, lr = take(self._ready, lambda entry: self._held.has(node, entry[2]))
        self._ahead -= self._costs.rank(cell)
        self._ahead_ready -= self._costs.rank(cell)
        return CellJob(cell=cell, lr=lr, orders=self._orders)

    def next_trial(self, node: str) -> RateJob | Search | None:
        """The next rate trial, of a search that is begun where one has any left; a search as in `next`."""
        for search in self._open_for(node):
            ask = search.ask()
            if ask:
                return RateJob(ask=ask, orders=self._orders)
        if not self._settings:
            return None
        *_, setting = take(self._settings, lambda entry: self._held.has(node, self._seekers[entry[-1]][0]))
        search = self._searches.open(setting)
        ask = search.ask()
        if not ask:
            return search
        self._open[setting] = search
        return RateJob(ask=ask, orders=self._orders)

    def learn(self, cell: Cell, seconds: float, epochs: int) -> None:
        """Takes a time into the expectations; all is put in order again after 1, 2, 4, 8, ... of them."""
        if epochs:
            self._costs.observe(cell, seconds, epochs)
            self._learned += 1
            if self._learned.bit_count() == 1:
                self._rerank()

    def _push(self, cell: Cell, lr: float) -> None:
        self._ahead_ready += self._costs.rank(cell)
        heapq.heappush(self._ready, (-self._costs.rank(cell), self._places[cell.key], cell, lr))

    def _path(self, cell: Cell, trials: int | None = None) -> float:
        """Expected time from the next of a setting's rate trials, None being the first, to the cell's end."""
        search = cell.recipe.lr
        assert isinstance(search, LrSearch)
        share = search.trial_epochs(cell.recipe.epochs) / cell.recipe.epochs
        return self._costs.rank(cell) * (1 + share * (search.trainings if trials is None else trials))

    def _can_wait(self, slots: int) -> bool:
        """Whether the searches may: the longest would end in time for its cell, and before the ready cells run out."""
        waiting = [(self._seekers[self._settings[0][-1]][0], None)] if self._settings else []
        begun = [(self._seekers[setting][0], search.left) for setting, search in self._open.items()]
        paths = [(self._path(cell, trials), self._costs.rank(cell)) for cell, trials in (*waiting, *begun)]
        in_time = max((path for path, _ in paths), default=0.0) < self._ahead / slots
        return in_time and max((path - own for path, own in paths), default=0.0) < self._ahead_ready / slots

    def _open_for(self, node: str) -> list[Search]:
        """The searches that are begun, in order; of those nearly as long as the longest, the ones held come first."""
        paths = {setting: self._path(self._seekers[setting][0], search.left) for setting, search in self._open.items()}
        least = NEARLY * max(paths.values(), default=0.0)

        def goes_first(search: Search) -> bool:
            return paths[search.setting] >= least and self._held.has(node, search.cell)

        return sorted(self._open.values(), key=goes_first, reverse=True)  # a stable sort

    def _rerank(self) -> None:
        self._ready = [(-self._costs.rank(cell), place, cell, lr) for _, place, cell, lr in self._ready]
        self._settings = [
            (-self._path(self._seekers[setting][0]), place, setting) for _, place, setting in self._settings
        ]
        heapq.heapify(self._ready)
        heapq.heapify(self._settings)
        self._ahead_ready = -sum(rank for rank, *_ in self._ready)
        seekers = itertools.chain(*self._seekers.values())
        self._ahead = self._ahead_ready + sum(self._costs.rank(cell) for cell in seekers)
