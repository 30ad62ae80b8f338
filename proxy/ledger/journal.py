"""The write-ahead log of a process: records on its local disk that the database does not have yet.

Each process has a folder of numbered segments of JSON lines, and locks it while it lives. When `append` returns, the
operating system has the record, so it survives the death of the process. The writer copies records into the database
in groups and drops them after the commit. So an unavailable database costs no memory.
If the lock of a folder is free, its process is dead, and any other process of the machine adopts the folder.
A power loss may cost the last records. So each folder names the boot of the machine that its process ran in.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

from proxy.records import Record, storable

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 2**20
READ_BYTES = 2**18
"""What one transaction writes at most."""
REJECTED = "rejected.jsonl"
BOOT = "boot"
"""The file of a folder that names the boot of the machine."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class JournalFullError(Exception):
    """The size limit is reached, or the disk is full, as the message says. No part of the records was kept."""


class Journal:
    """The journal of this process, or an adopted one. Only the user of the process can read its files.

    Raises:
        BlockingIOError: the process of the journal is alive.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        _make_folder(folder)
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise
        os.truncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())  # for people: only the lock is checked
        self._segments = sorted(int(p.stem) for p in folder.glob("*.log")) or [1]
        self._sizes = {n: p.stat().st_size if (p := self._path(n)).exists() else 0 for n in self._segments}
        self._file = _open_private(self._path(self._segments[-1]), os.O_RDWR | os.O_APPEND)
        self._offset = 0  # into the first segment: everything before it is in the database
        self._damaged = False

    @property
    def process_id(self) -> str:
        """The name of the process that the journal belongs to."""
        return self.folder.name

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are not in the database yet."""
        return sum(self._sizes.values()) - self._offset

    @property
    def complete(self) -> bool:
        """Whether the journal of a dead process has all that it appended: the machine has not been down since."""
        try:
            boot = (self.folder / BOOT).read_text()
        except (OSError, ValueError):
            return False  # of an older version
        return not self._damaged and boot == boot_id() != ""

    @property
    def full(self) -> bool:
        """Whether the size limit is reached."""
        return self.backlog_bytes >= self._max_bytes

    def append(self, records: Sequence[Record]) -> None:
        """Append records, all or none. This is the place where each record becomes storable.

        Raises:
            JournalFullError: there is no room.
        """
        if self.full:
            raise JournalFullError(f"the ledger's spool has reached its limit of {self._max_bytes} bytes")
        data = b"".join(_encoder.encode(storable(r)) + b"\n" for r in records)
        last = self._segments[-1]
        try:
            if self._sizes[last] >= SEGMENT_BYTES:
                last = self._next_segment()
            written = os.write(self._file, data)
        except OSError as e:
            raise JournalFullError(f"the ledger's spool cannot be written: {e.strerror}") from e
        if written < len(data):
            os.ftruncate(self._file, self._sizes[last])
            raise JournalFullError("the ledger's spool cannot be written: the disk is full")
        self._sizes[last] += written

    def read(self) -> tuple[list[Record], int]:
        """Return the next records that are not in the database yet, and the offset of their end.

        A line that cannot be read is moved aside and logged, so that it does not block the rest.
        """
        first = self._segments[0]
        # The last segment is open. It can be read even if somebody has deleted the folder.
        only = len(self._segments) == 1
        file = self._file if only else os.open(self._path(first), os.O_RDONLY)
        try:
            data = os.pread(file, READ_BYTES, self._offset)
            if b"\n" not in data and self._sizes[first] > self._offset + len(data):
                data = os.pread(file, self._sizes[first] - self._offset, self._offset)
        finally:
            if not only:
                os.close(file)
        # A dead process may have left half a line. Its `append` never returned, so nothing relies on it.
        end = data.rfind(b"\n") + 1
        return list(self._decode(data[:end])), self._offset + (end or len(data))

    def drop(self, end: int) -> None:
        """Drop the records before `end`, which are in the database."""
        first = self._segments[0]
        self._offset = end
        if end < self._sizes[first]:
            return
        if len(self._segments) > 1:
            self._path(first).unlink(missing_ok=True)
            del self._sizes[first]
            self._segments.pop(0)
        else:
            os.ftruncate(self._file, 0)
            self._sizes[first] = 0
        self._offset = 0

    def reject(self, record: Record) -> None:
        """Move a record that the database refuses to a file for the operator."""
        self._set_aside(_encoder.encode(record))

    def close(self, *, keep: bool = False) -> None:
        """Release the journal. Delete its folder if it is empty, unless somebody still has to adopt it (`keep`)."""
        if self.backlog_bytes == 0 and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._file)
        os.close(self._lock)

    def _next_segment(self) -> int:
        number = self._segments[-1] + 1
        _make_folder(self.folder)  # somebody may have deleted it
        file = _open_private(self._path(number), os.O_RDWR | os.O_APPEND)
        os.close(self._file)
        self._file = file
        self._segments.append(number)
        self._sizes[number] = 0
        return number

    def _decode(self, data: bytes) -> Iterator[Record]:
        for line in data.splitlines():
            try:
                yield _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._damaged = True
                self._set_aside(line)

    def _set_aside(self, line: bytes) -> None:
        path = self.folder.parent / REJECTED
        log.critical("a ledger record cannot be written and was moved to %s", path)
        with open(path, "ab", opener=_open_private) as file:
            file.write(line + b"\n")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.log"


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)


def _open_private(path: str | Path, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


@cache
def boot_id() -> str:
    """Return what the kernel calls this boot of the machine. Return "" where it has no name for it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def open_journal(spool: Path, name: str, *, max_bytes: int) -> Journal:
    """Start the journal of this process. It is renamed once it is locked, so that no other process adopts it.

    Raises:
        OSError: the folder cannot be written.
    """
    journal = Journal(spool / f".{name}", max_bytes=max_bytes)
    with open(journal.folder / BOOT, "w", opener=_open_private) as file:
        file.write(boot_id())
    journal.folder = journal.folder.rename(spool / name)
    return journal


def abandoned(spool: Path, *, max_bytes: int) -> Iterator[Journal]:
    """Open the journals of dead processes, one after the other."""
    if not spool.exists():
        return
    for folder in sorted(p for p in spool.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            yield Journal(folder, max_bytes=max_bytes)
        except (BlockingIOError, FileNotFoundError):
            continue
