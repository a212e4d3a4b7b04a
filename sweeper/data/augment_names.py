"""The names of the augmentations and the language that spells out others: which are right, and what they mean.

No image is changed here and torch is not needed, so that a search space is judged at once. `augment` says how.

An augmentation is a name, or operations in the order in which they are applied, each with its settings by name, and
after a `|` what validation and test images undergo instead:

    resized_crop(scale=(0.8, 1.2)) + hflip(p=0.5) + rotate(angle=20, p=0.3) | center_crop(share=0.875)

A setting that is left out has its value in `OPERATIONS`. Every image leaves an operation at the size it came with: what
crops also stretches back. The cell's `size` stands for the `Resize` of Matsoukas et al. (2022), and pixels are always
normalised last, so these two of their operations have no name here. The names are part of a cell's key as they are
written: another spelling of the same is another cell.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sweeper.rules import is_number, nearest

PLAIN = ("none", "flip", "shift", "flip_shift")
"""By name alone: the image as it is; mirrored left to right; moved by whole pixels; both."""
SETS = MappingProxyType(
    {
        # Juodelyte et al. 2023; `keras_noflip` is theirs for the chest X-rays
        "keras": "keras_affine() + hflip()",
        "keras_noflip": "keras_affine()",
        # Peng et al. 2023: torchvision's RandomResizedCrop(224); validation at Resize(256), CenterCrop(224)
        "ttl": "resized_crop(scale=(0.08, 1)) + hflip() | center_crop(share=0.875)",
        # Matsoukas et al. 2022, the operations that their defaults switch on
        "feature_reuse": "resized_crop(scale=(0.8, 1.2)) + vflip() + hflip() + jitter() + grayscale() "
        "| center_crop(share=0.875)",
    }
)
"""Name -> what it stands for."""
AUGMENT_NAMES = (*PLAIN, *SETS)

_Rule = tuple[Callable[[Any], bool], str]


def _within(low: float, high: float = float("inf")) -> _Rule:
    said = f"a number from {low:g}" if high == float("inf") else f"a number from {low:g} to {high:g}"
    return lambda value: is_number(value) and low <= value <= high and value < float("inf"), said


def _pair(low: float, high: float, *, rising: bool) -> _Rule:
    """Two numbers from `low` to `high`, neither of them 0 where `low` is 0 and the first is the smaller one."""

    def right(value: Any) -> bool:
        if not (isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))):
            return False
        fits = all(low <= each <= high for each in value)
        return fits and (not rising or 0 < value[0] <= value[1])

    return right, f"two numbers from {low:g} to {high:g}" + (", above 0, the smaller one first" if rising else "")


def _is_colour(value: Any) -> bool:
    values: list[Any] = list(value) if isinstance(value, tuple) and len(value) == 3 else [value]
    return all(is_number(each) and 0 <= each <= 255 for each in values)


_P: _Rule = _within(0, 1)
_SHARE: _Rule = (lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and up to 1")
_DEGREES: _Rule = _within(0, 180)
_SHEAR: _Rule = (lambda value: is_number(value) and 0 <= value < 90, "degrees from 0 and below 90")
_ZOOM: _Rule = (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 and below 1")
_AREA: _Rule = _pair(0, 10, rising=True)
_REQUIRED = object()


OPERATIONS: Mapping[str, Mapping[str, tuple[_Rule, Any]]] = MappingProxyType(
    {
        # the order of Matsoukas et al. 2022, whatever stands in their files; here the order is as written
        "center_crop": {"share": (_SHARE, 0.875)},
        "crop": {"share": (_SHARE, 0.875), "padding": (_within(0, 1), 0), "p": (_P, 1)},
        "resized_crop": {"scale": (_AREA, (0.08, 1)), "ratio": (_AREA, (3 / 4, 4 / 3))},
        "vflip": {"p": (_P, 0.5)},
        "hflip": {"p": (_P, 0.5)},
        "rotate": {"angle": (_DEGREES, _REQUIRED), "p": (_P, 1)},
        "jitter": {
            "brightness": (_within(0), 0.2),
            "contrast": (_within(0), 0.2),
            "saturation": (_within(0), 0.1),
            "hue": (_within(0, 0.5), 0.1),
            "p": (_P, 0.2),
        },
        "grayscale": {"p": (_P, 0.2)},
        "blur": {"radius": (_pair(0, 100, rising=True), (0.1, 2)), "p": (_P, 0.2)},
        "affine": {
            "degrees": (_DEGREES, 5),
            "translate": (_pair(0, 1, rising=False), (0.1, 0.3)),
            "scale": (_AREA, (0.1, 3.3)),
            "shear": (_SHEAR, 0.2),
            "p": (_P, 0.5),
        },
        "perspective": {"distortion": (_within(0, 0.5), 0.2), "p": (_P, 0.5)},
        "solarize": {"threshold": (_within(0, 256), 128), "p": (_P, 0.2)},
        "erasing": {
            "scale": (_pair(0, 1, rising=True), (0.02, 0.33)),
            "ratio": (_AREA, (0.3, 3.3)),
            "value": ((_is_colour, "a number from 0 to 255, or three"), 0),
            "p": (_P, 0.5),
        },
        # Keras's ImageDataGenerator; the settings are those of Juodelyte et al. 2023
        "keras_affine": {
            "rotation": (_DEGREES, 10),
            "shift": (_within(0, 1), 0.1),
            "shear": (_SHEAR, 0.1),
            "zoom": (_ZOOM, 0.1),
        },
    }
)
"""Operation -> setting -> what it must be, and its value where it is left out. `p` is an image's chance to undergo it;
`share` the part of the side that a crop keeps, `scale` the range of the part of the area, `ratio` that of width over
height; `padding` and `translate` count in sides, angles in degrees, `radius` (a Gaussian's sd) in pixels, `threshold`
and `value` in units of 0..255."""
_FIXED = ("center_crop",)
"""What leaves nothing to chance, so that validation images may undergo it."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation with all of its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What a text in the language says."""

    train: tuple[Operation, ...]
    """In the order in which training images undergo them."""
    view: tuple[Operation, ...]
    """What validation and test images undergo."""


def augment_problem(text: str) -> str | None:
    """What is wrong with the name or the text of an augmentation, in one sentence; None when it is right."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


def parse(text: str) -> Augmentation:
    """The operations that a text, or the name of a set, stands for; none for the names in `PLAIN`.

    Raises:
        ValueError: when it is none, saying what is wrong in one sentence.
    """
    if text in PLAIN:
        return Augmentation(train=(), view=())
    tree = _tree(SETS.get(text, text))
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        train, view = tuple(_operations(tree.left, text)), tuple(_operations(tree.right, text))
    else:
        train, view = tuple(_operations(tree, text)), ()
    if drawn := [each.name for each in view if each.name not in _FIXED]:
        raise ValueError(
            f"augment '{text}' draws '{drawn[0]}' for validation images; after | there may be {', '.join(_FIXED)}"
        )
    return Augmentation(train=train, view=view)


def _tree(text: str) -> ast.expr:
    if text.isidentifier():
        raise ValueError(f"augment '{text}' is unknown; {nearest(text, AUGMENT_NAMES)}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"augment '{text}' is neither one of {', '.join(AUGMENT_NAMES)} nor operations such as "
            f"'hflip(p=0.5) + rotate(angle=20, p=0.3)'"
        ) from error


def _operations(node: ast.expr, text: str) -> Iterator[Operation]:
    """The operations that are joined by +, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _operations(node.left, text)
        yield from _operations(node.right, text)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        yield _operation(node.func.id, node.keywords, text)
    else:
        raise ValueError(
            f"augment '{text}': '{ast.unparse(node)}' is no operation; write name(setting=value), joined by +"
        )


def _operation(name: str, given: list[ast.keyword], text: str) -> Operation:
    if name == "multi_crop":
        raise ValueError(
            f"augment '{text}': multi_crop shows a network several views of one image at once, which a cell does not "
            "train on; use resized_crop"
        )
    if name not in OPERATIONS:
        raise ValueError(f"augment '{text}': operation '{name}' is unknown; {nearest(name, OPERATIONS)}")
    known = OPERATIONS[name]
    settings = {setting: value for setting, (_, value) in known.items()}
    if len({each.arg for each in given}) < len(given):
        raise ValueError(f"augment '{text}': {name} has one of its settings twice; give each once")
    for each in given:
        if each.arg is None or each.arg not in known:
            raise ValueError(f"augment '{text}': {name} has no setting '{each.arg}'; {nearest(each.arg, known)}")
        settings[each.arg] = _value(each.value)
    for setting, value in settings.items():
        (right, said), _ = known[setting]
        if value is _REQUIRED:
            raise ValueError(f"augment '{text}': {name} needs {setting}=, {said}")
        if not right(value):
            raise ValueError(f"augment '{text}': {setting} of {name} is {value!r}; it must be {said}")
    return Operation(name=name, settings=MappingProxyType(settings))


def _value(node: ast.expr) -> Any:
    """The number or numbers written there; anything else as text, which no rule allows."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
