"""Single rows of an array inside an `.npz` file, which may be larger than the memory: nothing is held but marks.

A member that is stored is read where it lies. A deflated one can only be unpacked from its beginning, so the state of
the unpacking is kept at up to 256 places on the way. Rows in their order cost one pass (226 MB of photographs: 0.93 s,
`numpy.load` 1.35 s); a row out of order costs the unpacking from the mark before it: at most a 256th of the array, or
2 MB, where the row has been passed already (4 ms), and all that lies between where it has not. The checksum of a
deflated member is compared once all of it has been passed, that of a stored one is not.
"""

import io
import struct
import zipfile
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import IO

import numpy as np

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""Of a member: signature, five fields and three sizes that the directory has too, lengths of its name and its extra."""
_PIECE = 2**15
"""Packed bytes that are read at once."""
_SKIPPED = 2**20
"""Unpacked bytes that are passed at once."""
_MARKS = 256
_CLOSEST = 2**21
"""Unpacked bytes between two marks, at least: a mark takes up to 75 kB."""


class Rows:
    """The rows of one array; whoever reads them from several threads lets one at a time."""

    def __init__(self, path: Path, array: str) -> None:
        """
        Raises:
            OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile: when there is no such array to be read.
        """
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{array}.npy")
            with archive.open(member) as file:
                self.shape, fortran, self.dtype = _header(file)
                header = file.tell()
        if fortran or self.dtype.hasobject or not self.shape:
            raise ValueError("it is no array of numbers, row after row; save it again with numpy.savez_compressed")
        self._path, self._header = path, header
        self._row = int(np.prod(self.shape[1:])) * self.dtype.itemsize  # bytes
        if member.file_size != header + self.shape[0] * self._row:
            raise ValueError(f"its shape is {self.shape}, which {member.file_size - header} bytes do not fill")
        with path.open("rb", buffering=0) as file:
            self._first = _data_of(file, member)
        self._packed = _Packed(member, self._first) if member.compress_type else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        """A row, read now.

        Raises:
            IndexError: when there is no such row.
            EOFError, ValueError, zlib.error: when the file is damaged at or, where it is packed, before it.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"there is no row {row}; it has {len(self)}")
        start = self._header + row * self._row
        with self._path.open("rb", buffering=0) as file:  # one that stays open would be shared after a fork
            if self._packed:
                told = self._packed.read(file, start, self._row)
            else:
                told = _exactly(file, self._row, self._first + start)
        return np.frombuffer(told, dtype=self.dtype).reshape(self.shape[1:])


class _Packed:
    """A deflated member at any place."""

    def __init__(self, member: zipfile.ZipInfo, first: int) -> None:
        """Args: first: place in the file of its first byte."""
        if member.compress_type != zipfile.ZIP_DEFLATED:
            raise ValueError(f"it is packed by method {member.compress_type}; save it with numpy.savez_compressed")
        self._size, self._crc, self._end = member.file_size, member.CRC, first + member.compress_size
        self._apart = max(_CLOSEST, self._size // _MARKS)
        self._now = _Place(0, first, zlib.decompressobj(-zlib.MAX_WBITS))
        self._marks = [self._now.copy()]
        self._checked, self._sum = 0, 0  # unpacked bytes of which the checksum is known, and that

    def read(self, file: io.FileIO, start: int, length: int) -> bytes:
        """Unpacked bytes from a place on."""
        mark = self._marks[bisect_right([each.unpacked for each in self._marks], start) - 1]
        if not mark.unpacked <= self._now.unpacked <= start:
            self._now = mark.copy()
        while self._now.unpacked < start:
            self._next(file, min(_SKIPPED, start - self._now.unpacked))
        found = bytearray()
        while len(found) < length:
            found += self._next(file, length - len(found))
        return bytes(found)

    def _next(self, file: io.FileIO, most: int) -> bytes:
        """Some bytes more, none only while the packed ones that were read tell none; marks and checksum follow."""
        now = self._now
        file.seek(now.packed)
        piece = file.read(min(_PIECE, self._end - now.packed))
        found = now.unpacking.decompress(piece, most)
        if not found and not piece:
            raise EOFError(f"it ends after {now.unpacked} of {self._size} bytes")
        now.packed += len(piece) - len(now.unpacking.unconsumed_tail)
        now.unpacked += len(found)
        if now.unpacked - len(found) == self._checked:
            self._check(found)
        if now.unpacked >= self._marks[-1].unpacked + self._apart:
            self._marks.append(now.copy())
        return found

    def _check(self, found: bytes) -> None:
        self._checked, self._sum = self._checked + len(found), zlib.crc32(found, self._sum)
        if self._checked == self._size and self._sum != self._crc:
            raise ValueError("its checksum is wrong: the file is damaged")


class _Place:
    """How far a member has been unpacked."""

    def __init__(self, unpacked: int, packed: int, unpacking: "zlib._Decompress") -> None:
        self.unpacked = unpacked
        """Bytes of the member."""
        self.packed = packed
        """Place in the file of the first byte that is not taken yet."""
        self.unpacking = unpacking

    def copy(self) -> "_Place":
        return _Place(self.unpacked, self.packed, self.unpacking.copy())


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns follow each other instead of rows, and type."""
    match np.lib.format.read_magic(file):
        case (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        case (2, 0):
            return np.lib.format.read_array_header_2_0(file)
        case version:
            raise ValueError(f"it is written in version {version} of the format; save it again with numpy.savez")


def _data_of(file: io.FileIO, member: zipfile.ZipInfo) -> int:
    """Place in the file of a member's first byte: the lengths before it stand only there."""
    *_, name, extra = _LOCAL_HEADER.unpack(_exactly(file, _LOCAL_HEADER.size, member.header_offset))
    return member.header_offset + _LOCAL_HEADER.size + name + extra


def _exactly(file: io.FileIO, length: int, place: int) -> bytes:
    file.seek(place)
    found = file.read(length)
    if len(found) != length:
        raise EOFError(f"the file ends {length - len(found)} bytes too early")
    return found
