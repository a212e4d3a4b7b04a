"""Statistics that a reviewer accepts: intervals, paired tests, corrections, effect sizes, ranks.

`compare` and `compare_across` (by ranks, or by a mixed model) judge recorded cells; `bootstrap`, `bootstrap_difference`
and `delong_test` stored predictions; `rank_groups` ranks settings over targets, and `draw_ranks` draws that. The tests
that `compare` makes take bare numbers too, of cells that were never recorded here: `corrected_t_test`,
`signed_rank_test`, `mixed_mean`. No metric gets another definition here, and nothing imports torch or Ray.
"""

from analysis.statistics.comparison import compare, compare_across
from analysis.statistics.diagram import draw_ranks
from analysis.statistics.family import holm, summarise
from analysis.statistics.intervals import bootstrap, bootstrap_difference
from analysis.statistics.mixed import mixed_mean, mixed_mean_of
from analysis.statistics.paired_aurocs import delong, delong_test
from analysis.statistics.ranks import rank_groups
from analysis.statistics.repeated import corrected_t_test, detectable_in_se
from analysis.statistics.signed_rank import signed_rank_test

__all__ = [
    "bootstrap",
    "bootstrap_difference",
    "compare",
    "compare_across",
    "corrected_t_test",
    "delong",
    "delong_test",
    "detectable_in_se",
    "draw_ranks",
    "holm",
    "mixed_mean",
    "mixed_mean_of",
    "rank_groups",
    "signed_rank_test",
    "summarise",
]
