"""One block of a model, by the names of its modules.

It holds names alone; the file of each family writes them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Block:
    """A step of the depth coordinate."""

    name: str
    """As `stem`, `layer2` or `layer2.0`; unique within a model and grain."""
    modules: tuple[str, ...]
    """Qualified names, under the classifier, of the modules whose parameters and buffers are the block's."""
    tap: str
    """The module whose output is the block's output."""
    tensors: tuple[str, ...] = ()
    """Qualified names of further tensors of the block that no module of its own holds, as `backbone.cls_token`."""
