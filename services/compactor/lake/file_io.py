"""File access of the lake: pyiceberg's own, with no more requests to S3 than its small files need.

A commit of a small load writes a dozen files of some kilobytes. Left alone, pyarrow uploads each in parts, which is
three requests that are charged for, and pyiceberg asks before some whether they are there, which is two more: at a
commit each half minute that costs more than the machines.
"""

from __future__ import annotations

from pyarrow.fs import FileSystem
from pyiceberg.io import OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

NAME = f"{__name__}.LakeFileIO"
"""How the setting `py-io-impl` of a catalog names it."""


class LakeFileIO(PyArrowFileIO):
    """File access over pyarrow, which uploads a file of less than one part (10 MB) in one request."""

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        """No property of pyiceberg names the option; what it made says how it is made again, as for another process."""
        make, (options,) = super()._initialize_s3_fs(netloc).__reduce__()
        return make({**options, "allow_delayed_open": True})

    def new_output(self, location: str) -> PyArrowFile:
        """A file to be written; every name of a lake's file has a UUID of its own."""
        file = super().new_output(location)
        return _NewFile(file.location, file._path, file._filesystem, file._buffer_size)  # noqa: SLF001  # pyiceberg has no getters


class _NewFile(PyArrowFile):
    """A file under a name that nobody else has."""

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002, FBT001, FBT002  # pyiceberg's signature
        """Written without asking whether it is there: the name is new, and such an answer would be stale anyway."""
        return super().create(overwrite=True)
