"""Errors that a user can act on."""

import errno

UNFINISHED = ".unfinished-"  # prefix of the name of a file while it is being written


class UserError(Exception):
    """A mistake the user can correct. Its text is one sentence: the file, the problem, the remedy."""


def describe_os_error(error: OSError) -> str:
    """One sentence about an error of the operating system."""
    where = f"{error.filename}: ".replace(UNFINISHED, "") if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{where}the disk is full; make room and run the same command again."
    if error.errno == errno.ENAMETOOLONG:
        return f"{where}the name is too long for the file system; shorten it."
    return f"{where}{error.strerror or error}."


def sentence(error: Exception) -> str:
    """The message of a UserError or an OSError."""
    return describe_os_error(error) if isinstance(error, OSError) else str(error)
