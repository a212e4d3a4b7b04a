"""CBIS-DDSM: the four tables as they are handed out, masses as DICOM folders and calcifications as pictures."""

from pathlib import Path
from zlib import crc32

import numpy as np

from fakes import draw, noise

_REST = {
    "mass": "left or right breast,image view,abnormality id,abnormality type,mass shape,mass margins",
    "calc": "left or right breast,image view,abnormality id,abnormality type,calc type,calc distribution",
}
_DENSITY = {"mass": "breast_density", "calc": "breast density"}
_PARTS = {"train": "Training", "test": "Test"}
_PATHOLOGIES = (("BENIGN",), ("MALIGNANT",), ("BENIGN_WITHOUT_CALLBACK",), ("BENIGN", "MALIGNANT"))


def write(root: Path) -> None:
    """In each table two patients for each of four mixtures of pathologies; one patient is in two tables."""
    base = root / "CBIS-DDSM"
    for kind in ("mass", "calc"):
        for part in ("train", "test"):
            first = {"train": 0, "test": 8}[part] + {"mass": 0, "calc": 1}[kind]
            patients = {f"P_{first + number:05d}": _PATHOLOGIES[number % 4] for number in range(8)}
            write_table(base, kind, part, patients)
            for patient in patients:
                image = name_of(kind, part, patient)
                seed = crc32(image.encode())
                if kind == "mass":
                    write_dicom(base / image / "1.3.6.1" / "1.3.6.2" / "000000.dcm", noise(seed, 12, 10))
                else:
                    draw(base / "images" / f"{image}.png", seed, mode="L")


def name_of(kind: str, part: str, patient: str) -> str:
    """The first folder of an image's path."""
    return f"{kind.title()}-{_PARTS[part]}_{patient}_LEFT_CC"


def write_table(base: Path, kind: str, part: str, patients: dict[str, tuple[str, ...]]) -> None:
    """One row an abnormality, a line break within the last but one quoted path."""
    rows = [
        f"patient_id,{_DENSITY[kind]},{_REST[kind]},assessment,pathology,subtlety,image file path,"
        "cropped image file path,ROI mask file path\n"
    ]
    for patient, pathologies in patients.items():
        image = name_of(kind, part, patient)
        for number, pathology in enumerate(pathologies, start=1):
            rows.append(
                f"{patient},3,LEFT,CC,{number},{kind},OVAL,SHARP,4,{pathology},4,{image}/1.3.6.1/1.3.6.2/000000.dcm,"
                f'"{image}_{number}/1.3.6.3/1.3.6.4/000001.dcm\n",{image}_{number}/1.3.6.3/1.3.6.4/000000.dcm\n'
            )
    base.mkdir(parents=True, exist_ok=True)
    (base / f"{kind}_case_description_{part}_set.csv").write_text("".join(rows))


def write_dicom(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2", **facts: object) -> Path:
    """A secondary capture as the archive has it: uncompressed; `facts` are further elements by keyword."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    dicom = Dataset()
    dicom.file_meta = meta
    dicom.SOPClassUID, dicom.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dicom.Rows, dicom.Columns = pixels.shape[:2]
    dicom.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dicom.PhotometricInterpretation = photometric
    dicom.BitsAllocated = dicom.BitsStored = 8 * pixels.dtype.itemsize
    dicom.HighBit = dicom.BitsStored - 1
    dicom.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dicom.PlanarConfiguration = 0
    dicom.PixelData = pixels.tobytes()
    for keyword, value in facts.items():
        setattr(dicom, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom.save_as(path, enforce_file_format=True)
    return path
