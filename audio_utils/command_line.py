"""The edge of every script: constants that are flags, one-sentence errors, exit statuses.

A script ends with `command_line.run(main)`. Exit statuses: 0 done, 1 a mistake the user can mend, 2 bad
arguments, 130 after ^C, 143 after SIGTERM.
"""

import argparse
import ast
import errno
import glob
import io
import os
import signal
import sys
import tokenize
from contextlib import contextmanager, suppress

from audio_utils import safe_files
from audio_utils.safe_files import UserError

STOPPED = "Stopped; what was finished is kept, the same command goes on from there."


def parse(constants, files=None, argv=None, short=None):
    """Read the command line of a script whose constants are the defaults of its flags.

    constants: the script's `globals()`; every UPPER_CASE name assigned at its top level, but for _PRIVATE ones,
    becomes a flag (`BATCH_SIZE = 40  # clips a step` gives `--batch-size`, its comment the help).
    files: a list of (name, keyword arguments) for positional arguments.
    short: a flag of one letter beside the long one: {"REMOVE": "-r"}.
    Returns a namespace with one lower-case attribute per constant and positional argument.
    """
    parser = argparse.ArgumentParser(description=constants["__doc__"], allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, keywords in files or ():
        parser.add_argument(name, **keywords)
    for name, comment in _commented_constants(constants["__file__"]):
        value = constants[name]
        flags = ["--" + name.lower().replace("_", "-")]
        if short and name in short:
            flags.insert(0, short[name])
        text = f"{comment} (now: {_shown(value)})".replace("%", "%%")
        if isinstance(value, bool):
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, default=value, help=text)
        else:
            parser.add_argument(*flags, type=_reader(value), default=value, help=text, metavar="VALUE")
    return parser.parse_args(argv)


def _commented_constants(script):
    """The UPPER_CASE names assigned at the top of a script, each with the comment beside it."""
    with open(script, encoding="utf-8") as file:
        source = file.read()
    names = {node.end_lineno: node.targets[0].id for node in ast.parse(source).body
             if isinstance(node, ast.Assign) and _is_flag(node.targets[0])}
    last = None
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        if line in names:
            last = names[line]
            comments[last] = token.string.lstrip("# ")
        elif last and column > 0 and token.line.lstrip().startswith("#"):  # the comment goes on below
            comments[last] += " " + token.string.lstrip("# ")
        else:
            last = None
    return [(name, comments.get(name, "")) for name in names.values()]


def _is_flag(target):
    return isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_")


def _shown(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value) if value == "" else str(value)


def _reader(default):
    """What turns the text of a flag into a value of the kind that the constant has."""
    def read(text):
        if text.lower() == "none":
            return None
        if isinstance(default, tuple):
            return tuple(type(part)(piece) for part, piece in zip(default, text.split(","), strict=True))
        if default is None:
            return float(text) if "." in text or "e" in text.lower() else int(text)
        return type(default)(text)

    read.__name__ = {int: "whole number", float: "number"}.get(type(default), "value")  # for argparse's message
    return read


def check_number(options, name, kind, minimum=None, maximum=None, none=False):
    """Refuse a constant or flag that is no number of this kind (int or float) within the bounds."""
    value = getattr(options, name)
    if none and value is None:
        return
    number = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not number or (minimum is not None and not value >= minimum) or (maximum is not None and not value <= maximum):
        wanted = "a whole number" if kind is int else "a number"
        bounds = " and ".join(f"{word} {bound}" for word, bound in (("at least", minimum), ("at most", maximum))
                              if bound is not None)
        raise UserError(f"{name.upper()} is {value!r}; set it to {wanted}{' of ' + bounds if bounds else ''}.")


def expand(patterns):
    """The files that were named, each once, with `*`, `?` and `[…]` expanded where the shell (Windows) left them.

    A file that has such a name is itself; a pattern that nothing matches stays, to be reported by its name.
    """
    names = {}
    for pattern in patterns:
        found = [] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
        names |= dict.fromkeys(found or [pattern])
    return list(names)


def rivals(files, output):
    """The files whose output(file) is that of an earlier one: {file: the earlier one}."""
    first = {}
    return {file: first[output(file)] for file in files if first.setdefault(output(file), file) != file}


def say(text=""):
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def warn(text):
    """Print a sentence on stderr."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def on_stop(sentence):
    """Set what ^C and SIGTERM will say: what is kept, and how to go on."""
    global _stop_sentence
    _stop_sentence = sentence


@contextmanager
def stopping_later():
    """Within, ^C and SIGTERM wait; they are answered at the end."""
    global _later
    _later = kept = []
    try:
        yield
    finally:
        _later = None
        if kept:
            _stop(kept[0], None)


def run(main):
    """Run a script's `main()` and leave with its exit status; a mistake of the user's is one sentence."""
    try:
        status = main()
        sys.stdout.flush()
    except UserError as error:
        _leave(str(error), 1)
    except MemoryError:
        _leave("Not enough memory; use fewer or shorter clips (CLIP_SECONDS), or a smaller BATCH_SIZE.", 1)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        _leave(describe_os_error(error), 1)
    sys.exit(status or 0)


def describe_os_error(error):
    """One sentence for what the operating system refused."""
    where = f"{error.filename}: ".replace(safe_files.UNFINISHED, "") if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{where}the disk is full; make room and run the same command again."
    return f"{where}{error.strerror or error}."


def _leave(sentence, status):
    warn(sentence)
    sys.exit(status)


_stop_sentence = STOPPED
_later = None  # a list of the signals that `stopping_later` keeps, or nothing
_stderr = 2  # where the sentence goes, also while the script has silenced a library's stderr


def _stop(number, _frame):
    """Leave at once: an exception could be swallowed by whatever library is running."""
    if _later is not None:
        _later.append(number)
        return
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    safe_files.discard_unfinished()
    with suppress(OSError):
        os.write(_stderr, f"\n{_stop_sentence}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _take_over():
    global _stderr
    with suppress(OSError):  # there is none
        _stderr = os.dup(2)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and background jobs ignore ^C
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):  # a file name need not be printable
        stream.reconfigure(errors="backslashreplace")


def _is_ours(script):
    """Whether a script stands in the suite's folder or in audio_utils/."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(os.path.abspath(script)) in (here, os.path.dirname(here))


if _is_ours(getattr(sys.modules["__main__"], "__file__", None) or "/"):  # not when a notebook or a test imports us
    _take_over()
