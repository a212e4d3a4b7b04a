"""What became of each tensor of a backbone when a source's values were poured into it.

Names as in the untruncated backbone. Nothing is loaded here.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Names of tensors; each of the backbone's is in exactly one of the first six."""

    loaded: tuple[str, ...] = ()
    """Taken over from the source."""
    drawn: tuple[str, ...] = ()
    """Drawn from what the source's tensor is like."""
    reset: tuple[str, ...] = ()
    """Of norm layers: weight 1, bias 0, running mean 0 and variance 1."""
    kept: tuple[str, ...] = ()
    """Class tokens and position tables of drawn blocks that are the source's nevertheless."""
    filled: tuple[str, ...] = ()
    """The first convolution's weight, filled with a Gabor bank."""
    left: tuple[str, ...] = ()
    """Left at the model's own start."""
    reshaped: tuple[str, ...] = ()
    """Those of the loaded, drawn and kept that had another shape: a first layer of other channels, a position table of
    another image size."""
    unexpected: tuple[str, ...] = ()
    """What the source holds that no block has: a head, as its contract allows."""

    def counts(self) -> dict[str, int]:
        """How many tensors each is, without those that are none."""
        values = {each.name: len(getattr(self, each.name)) for each in dataclasses.fields(self)}
        return {name: number for name, number in values.items() if number}
