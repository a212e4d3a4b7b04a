"""DDTI: cases with every TI-RADS, without one, with several images, and with several marks on one image."""

from pathlib import Path

from fakes import draw, write_text

TIRADS = {"1": "2", "2": "3", "3": "4a", "4": "4b", "5": "4c", "6": "5", "7": None, "8": ""}


def write(root: Path) -> None:
    """Eight cases; the third and the seventh have two images."""
    for case, tirads in TIRADS.items():
        images = (1, 2) if case in ("3", "7") else (1,)
        for image in images:
            draw(root / "thyroid" / f"{case}_{image}.jpg", 10 * int(case) + image, mode="L")
        write_case(root / "thyroid" / f"{case}.xml", tirads, marks=(*images, 1))


def write_case(path: Path, tirads: str | None, marks: tuple[int, ...]) -> None:
    """A case's file; None leaves TI-RADS out altogether."""
    told = "" if tirads is None else f"<tirads>{tirads}</tirads>"
    drawn = "".join(f'<mark><image>{each}</image><svg>[{{"points": []}}]</svg></mark>' for each in marks)
    write_text(path, f"<case><number>{path.stem}</number><age/><sex>F</sex>{told}{drawn}</case>")
