"""Errors that a user can act on."""

import errno
import re

UNFINISHED = ".unfinished-"  # prefix of the name of a file while it is being written
_PREFIX = re.compile(re.escape(UNFINISHED) + r"(@[^@/]*@\d+@)?")  # on a Dask worker, with its host and process

_DISK_FULL = "the disk is full; make room and run the same command again"
_NO_PERMISSION = "permission denied; give yourself access to it or to its folder (chmod u+rwX)"
_SENTENCES = {
    errno.ENOSPC: _DISK_FULL, errno.EDQUOT: _DISK_FULL, errno.EFBIG: _DISK_FULL,
    errno.EACCES: _NO_PERMISSION, errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "the file system is read-only; work in another folder",
    errno.EIO: "input/output error; check the disk",
    errno.ENAMETOOLONG: "the name is too long for the file system; shorten it"}


class UserError(Exception):
    """A mistake the user can correct. Its text is one sentence: the file, the problem, the remedy."""


def describe_os_error(error: OSError) -> str:
    """One sentence about an error of the operating system."""
    where = f"{without_prefix(error.filename)}: " if error.filename else ""
    return f"{where}{_SENTENCES.get(error.errno) or error.strerror or error}."


def without_prefix(path: object) -> str:
    """The path of a file, also while it is being written."""
    return _PREFIX.sub("", str(path))


def sentence(error: Exception) -> str:
    """The message of a UserError or an OSError."""
    return describe_os_error(error) if isinstance(error, OSError) else str(error)
