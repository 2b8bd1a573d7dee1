"""One sentence for each error."""

import errno

import pytest

from audio_utils.runtime import errors
from audio_utils.runtime.errors import UNFINISHED, UserError


@pytest.mark.parametrize(("error", "sentence"), [
    (UserError("x.wav: is empty."), "x.wav: is empty."),
    (OSError(errno.ENOSPC, "No space", f"a/{UNFINISHED}x.npy"),
     "a/x.npy: the disk is full; make room and run the same command again."),
    (OSError(errno.EFBIG, "File too large"), "the disk is full; make room and run the same command again."),
    (PermissionError(errno.EACCES, "Permission denied", "x.wav"),
     "x.wav: permission denied; give yourself access to it or to its folder (chmod u+rwX)."),
    (OSError(errno.EROFS, "Read-only file system", "x.wav"),
     "x.wav: the file system is read-only; work in another folder."),
    (OSError(errno.EIO, "Input/output error", "x.wav"), "x.wav: input/output error; check the disk."),
    (OSError(errno.EXDEV, "Invalid link", "x.wav"), "x.wav: Invalid link."),
    (OSError(errno.ENAMETOOLONG, "File name too long", "x.wav"),
     "x.wav: the name is too long for the file system; shorten it."),
    (OSError("unexpected"), "unexpected.")])
def test_an_error_is_one_sentence(error, sentence):
    assert errors.sentence(error) == sentence
