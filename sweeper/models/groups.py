"""timm's depth groups of a model as steps of the depth coordinate: which tensors, in which modules, in which order.

It cuts nothing; `generic.py` does. What timm says of depth is for learning rates that differ by layer, and is believed
here only as far as a forward pass bears it out.
"""

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.models.info import Grain

_WITH_PREVIOUS = (99999,)
"""timm's mark of tensors that belong to the group before."""
_NO_TENSOR = "no tensor has this name"


@dataclass(frozen=True, kw_only=True)
class Group:
    """What timm counts as one step of depth."""

    tensors: tuple[str, ...]
    """Names of parameters and buffers under the backbone."""
    modules: tuple[str, ...]
    """The largest modules that hold tensors of this group and no others."""
    loose: tuple[str, ...]
    """Tensors that no such module holds."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """All tensors of a model, in steps."""

    stem: Group
    parts: tuple[Group, ...]
    tail: Group | None
    """What timm gives to no step, or to the last: a final norm or convolution, a pooling with weights."""

    def layers(self) -> list[Group]:
        """The steps from the input on."""
        return [self.stem, *self.parts, *([self.tail] if self.tail else [])]


def find_groups(backbone: Any, grain: Grain) -> Groups:
    """The model's tensors by timm's `group_matcher`, each in exactly one group.

    Raises:
        ValueError: timm knows no groups for it, or a single one.
    """
    if not hasattr(backbone, "group_matcher"):
        raise ValueError("timm knows no depth groups for it")
    names = tensor_names(backbone)
    numbers = _numbers(names, backbone.group_matcher(coarse=grain == "block"))
    tail = numbers.pop(_NO_TENSOR)
    members: dict[int, list[str]] = {}
    for name, number in numbers.items():
        members.setdefault(number, []).append(name)
    behind = members.pop(tail, None)
    found = [make_group(backbone, members[number]) for number in sorted(members)]
    if len(found) < 2:
        raise ValueError("timm knows no two depth groups for it")
    return Groups(stem=found[0], parts=tuple(found[1:]), tail=make_group(backbone, behind) if behind else None)


def make_group(backbone: nn.Module, names: Sequence[str]) -> Group:
    """These tensors as a group."""
    wanted = set(names)
    modules, loose = [], []
    _collect("", backbone, wanted, modules, loose)
    return Group(tensors=tuple(names), modules=tuple(modules), loose=tuple(loose))


def tensor_names(module: nn.Module) -> list[str]:
    """Parameters and buffers, those that no state holds too."""
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]


def count_layers(coarse: Groups, fine: Groups) -> tuple[int, ...]:
    """How many fine steps there are in each coarse one.

    Raises:
        ValueError: a fine step lies in two coarse ones.
    """
    home = {name: number for number, group in enumerate(coarse.layers()) for name in group.tensors}
    counts = [0] * len(coarse.parts)
    for group in fine.parts:
        homes = {home[name] for name in group.tensors}
        if len(homes) > 1 or not 1 <= min(homes) <= len(counts):
            raise ValueError(f"timm's fine depth group with '{group.tensors[0]}' is no part of one coarse group")
        counts[homes.pop() - 1] += 1
    return tuple(counts)


@dataclass
class Run:
    """When each module of a model started and ended in one forward pass."""

    starts: dict[str, list[int]] = field(default_factory=dict)
    ends: dict[str, list[int]] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    """The identity of each module's output."""
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    """Of outputs that are one tensor."""
    clock: int = 0


def record(backbone: nn.Module, forward: Callable[[Tensor], Any], image: Tensor) -> Run:
    """One forward pass, watched."""
    run, kept, handles = Run(), [], []

    def start(name: str) -> None:
        run.clock += 1
        run.starts.setdefault(name, []).append(run.clock)

    def end(name: str, output: Any) -> None:
        run.clock += 1
        run.ends.setdefault(name, []).append(run.clock)
        run.outputs[name] = id(output)
        run.shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else None
        kept.append(output)  # an identity is given again when its object is gone

    for name, module in backbone.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(lambda _module, _inputs, name=name: start(name)))
            handles.append(module.register_forward_hook(lambda _module, _in, output, name=name: end(name, output)))
    with torch.no_grad():
        forward(image)
    for handle in handles:
        handle.remove()
    return run


def find_taps(groups: Sequence[Group], run: Run, *, inside: Set[str]) -> list[str]:
    """Per group, the last module that ends before the next group starts: what it gives is the group's output.

    Args:
        groups: from the input on.
        inside: modules that run before the model pools; the taps of all groups but the last are among them.

    Raises:
        ValueError: a group does not run, or not between its neighbours.
    """
    spans = [_span(group, run) for group in groups] + [(run.clock + 1, run.clock + 1)]
    for group, ((_, last), (following, _)) in zip(groups, pairwise(spans), strict=True):
        if last >= following:
            raise ValueError(f"the depth group with '{group.tensors[0]}' still runs when the next one has started")
    before = [_tap(last, following, run, inside) for (_, last), (following, _) in pairwise(spans[:-1])]
    return [*before, _tap(spans[-2][1], run.clock + 1, run, set(run.ends))]


def _tap(last: int, following: int, run: Run, inside: Set[str]) -> str:
    once = sorted((ends[0], name) for name, ends in run.ends.items() if len(ends) == 1 and name in inside)
    ended = [name for at, name in once if last <= at < following]
    if not ended:
        raise ValueError("the last module of a depth group runs more than once")
    return next(name for name in ended if run.outputs[name] == run.outputs[ended[-1]])


def _span(group: Group, run: Run) -> tuple[int, int]:
    idle = [name for name in group.modules if name not in run.ends]
    if idle or not group.modules:
        raise ValueError(f"'{(idle or group.tensors)[0]}' holds tensors but does not run as a module")
    return min(run.starts[name][0] for name in group.modules), max(run.ends[name][-1] for name in group.modules)


def _numbers(names: Sequence[str], matcher: Any) -> dict[str, int]:
    """Tensor name -> number of its group, from 0; that of `_NO_TENSOR` is the number of what belongs to none."""
    from timm.models._manipulate import group_with_matcher

    if isinstance(matcher, dict):
        matcher = {name: list(_inner_entries(spec)) for name, spec in matcher.items() if spec} | {"tail": r""}
    return group_with_matcher(((name, name) for name in (*names, _NO_TENSOR)), matcher, reverse=True)


def _inner_entries(spec: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a matcher's spec without those that give a final norm to the last group."""
    for pattern, suffix in [(spec, None)] if isinstance(spec, str) else spec:
        if suffix != _WITH_PREVIOUS or re.compile(pattern).groups:
            yield pattern, suffix


def _collect(prefix: str, module: nn.Module, wanted: set[str], modules: list[str], loose: list[str]) -> None:
    for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if prefix + name in wanted:
            loose.append(prefix + name)
    for name, child in module.named_children():
        inside = {f"{prefix}{name}.{each}" for each in tensor_names(child)}
        if inside and inside <= wanted:
            modules.append(prefix + name)
        elif inside & wanted:
            _collect(f"{prefix}{name}.", child, wanted, modules, loose)
