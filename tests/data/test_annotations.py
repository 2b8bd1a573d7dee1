"""annotations.py: label tracks, selection tables and csv files as programs and people write them."""

import re

import numpy as np
import pytest

from audio_utils.data import annotations
from audio_utils.data.annotations import Label
from audio_utils.runtime.errors import UserError

RAVEN = ("Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"
         "1\tWaveform 1\t1\t0.5\t1.25\t0\t4000\tred fox\n1\tSpectrogram 1\t1\t0.5\t1.25\t0\t4000\tred fox\n")


def read(tmp_path, content):
    path = tmp_path / "x.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(label.start, label.end, label.text) for label in annotations.read(path)]


@pytest.mark.parametrize("content", [
    "0.5\t1.25\tred fox\n", "0.500000\t1.250000\tred  fox\r\n", "\ufeff0.5\t1.25\tred fox", "0,5\t1,25\tred fox\r\n",
    "\n0.5\t1.25\tred fox\n\\\t100.0\t2000.0\n", "0.5\t1.25\t red fox \n\n", "0.5\t1.25\tred\tfox\n",
    "start,end,label\n0.5,1.25,red fox\n", "0.5,1.25,red fox\n", "0,5;1,25;red fox\n",
    "label;end;start\nred fox;1,25;0,5\n", 'Start_Time,"End (s)",Species\n0.5,1.25,"red fox"\n',
    '"start","end","label"\n"0,5","1,25","red fox"\n,,\n', "onset_s,offset_s,label\n.5,1.25,red fox\n",
    "Begin Time (s)\tEnd Time (s)\tSpecies\tNotes\n0,5\t1,25\tred fox\tfar, 5\" \n",
    "Start (s),End (s),Scientific name,Common name,Confidence\n0.5,1.25,Vulpes,red fox,0.9\n",
    "file,start,end,class,probability,p_red fox,status\nx.wav,0.5,1.25,red fox,0.9,0.9,\n",
    "start,end,label,status\n0.5,1.25,red fox,reviewed\n",
    '"selec"\t"start"\t"end"\t"label"\n"1"\t0.5\t1.25\t"red fox"\n',
    "0.5\t1.25\tred fox\n".encode("utf-16"), "start;end;label\n0,5;1,25;red fox\n".encode("utf-16")])
def test_all_formats_give_the_same_label(tmp_path, content):
    assert read(tmp_path, content) == [(0.5, 1.25, "red fox")]


def test_rows_of_a_selection_table_are_read_for_each_view(tmp_path):
    assert read(tmp_path, RAVEN) == [(0.5, 1.25, "red fox")] * 2


@pytest.mark.parametrize(("content", "expected"), [
    ("", []), ("\ufeff\r\n \n", []), ("start,end,label\n", []),
    ("1\t1\tpoint\n", [(1, 1, "point")]), ("1\tpoint\n", [(1, 1, "point")]),
    ("1\t2\n3\t4\t\n", [(1, 2, ""), (3, 4, "")]),
    ("1\t2\t\\\n\\\t-1.0\t5.0\n3\t4\t\"b\"\n", [(1, 2, "\\"), (3, 4, '"b"')]),
    ("-1\t2\ta\n", [(-1, 2, "a")]), ("1e1\t2e1\ta\n", [(10, 20, "a")]),
    ("start,end,label\n1,2,\"a, b\"\n3,4\n", [(1, 2, "a, b"), (3, 4, "")]),
    ('start\tend\tlabel\n1\t2\t"a ""b"""\n3\t4\t5"\n', [(1, 2, 'a "b"'), (3, 4, '5"')]),
    ("start,end,class,status\n1,2,a,silence\n2,3,a,very quiet\n", [(1, 2, "silence"), (2, 3, "very quiet")]),
    ("1\t2\tBläßhuhn 鳥\n", [(1, 2, "Bläßhuhn 鳥")]),
    ("1\t2\tBl\u00e4\u00dfhuhn\n".encode("latin-1"), [(1, 2, "Bläßhuhn")])])
def test_texts_and_times_are_kept_as_they_are(tmp_path, content, expected):
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize(("content", "problem"), [
    ("1\t2\ta\n3\t2\tb\n", "line 2: the start 3 is after the end 2"), ("nan\t2\ta\n", "line 1: 'nan' is not a number"),
    ("0\t1e300\ta\n", "line 1: '1e300' is not"),
    ("1\t2\ta\n1\tinf\ta\n", "line 2: 'inf' is not a number"), ("1\t2\ta\nx\t2\ta\n", "line 2: 'x' is not a number"),
    ("start,end,label\n1,NaN,a\n", "line 2: 'NaN' is not a number"),
    ("1\t2\ta\n1.234,5\t2000\ta\n", "line 2: '1.234,5' is not"),
    ("start,end,label\n,2,a\n", "line 2: '' is not a number"), ("0:01\t0:02\ta\n", "first line is neither a label nor"),
    ("start,end,label\n0,5,1,25,a\n", "line 2 has more cells than the header"),
    ("1\n", "line 1 is not a start, an end and a label"), ("0,5,1,25,a\n", "line 1 is not a start, an end and a label"),
    ("1,2,a, b\n", "line 1 is not a start, an end and a label"), ("notes on this night\n", "first line is neither"),
    ("start,stop\n1,2\n", "a column named Annotation or label"), ("start,label\n1,a\n", "named End Time (s) or end"),
    ("start (ms),end (ms),label\n1,2,a\n", "a column named Begin Time (s) or start"),
    ('start,end,label\n1,2,"a\n', "line 2: can't be read as csv (unexpected end of data)"),
    (b"1\t2\ta\0b\n", "is not a text file; export the labels again"),
    ("start,end,label\n1,2," + "a" * 200_000, "line 2: can't be read as csv"),
    ("Begin Time (s)\tEnd Time (s)\tLabel\tBegin File\n1\t2\ta\tx.wav\n1\t2\ta\ty.wav\n",
     "covers several recordings, but has no column File Offset (s)")])
def test_files_that_would_be_misread_are_refused_by_line(tmp_path, content, problem):
    with pytest.raises(UserError, match=rf"x\.txt: .*{re.escape(problem)}"):
        read(tmp_path, content)


def test_a_huge_file_is_refused_unread(tmp_path):
    with open(tmp_path / "x.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"x\.txt: is too large"):
        annotations.read(tmp_path / "x.txt")


def test_times_in_a_table_of_several_recordings_are_those_of_each(tmp_path):
    (tmp_path / "x.txt").write_text(
        "Begin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tAnnotation\n"
        "1\t2\tC:\\night\\a.wav\t1\tfox\n61\t62,5\t/home/b.wav\t1,0\towl\n")
    assert annotations.read(tmp_path / "x.txt") == [Label(1, 2, "fox", 2, "a.wav"), Label(1, 2.5, "owl", 3, "b.wav")]


def test_what_is_written_is_read_again(tmp_path):
    labels = [Label(0, 1.5, "a \"b\", c"), Label(1.5, 1 / 3 + 2, "two\tlines\nof text"), Label(3, 4, "silence")]
    expected = [(0, 1.5, 'a "b", c'), (1.5, 2.333333, "two lines of text"), (3, 4, "silence")]
    annotations.write_track(tmp_path / "x.txt", labels)
    assert read(tmp_path, (tmp_path / "x.txt").read_bytes()) == expected
    annotations.write_selections(tmp_path / "x.txt", zip(labels, (1, 0.5, 0.25), strict=True), 11025)
    rows = [line.split("\t") for line in (tmp_path / "x.txt").read_text().splitlines()]
    assert rows[1] == ["1", "Spectrogram 1", "1", "0.000000", "1.500000", "0", "5512.5", 'a "b", c', "1.000000"]
    assert {len(row) for row in rows} == {9}
    assert read(tmp_path, (tmp_path / "x.txt").read_bytes()) == expected


def test_a_damaged_file_gives_intervals_or_one_sentence(tmp_path):
    rng = np.random.default_rng(1)
    pieces = [b"\t", b",", b";", b'"', b"\\", b"\r", b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe4", b"nan",
              b"1e999", b"e99", b"-", b"'", b"9" * 400, "\u2028\u0085".encode()]
    sentences, intervals = [], []
    for content in (RAVEN.encode(), b"0.5\t1.25\tred fox\n2\t2\tx\n", b"start,end,label\n0.5,1.25,fox\n1,2,\"a, b\"\n"):
        for _ in range(100):
            damaged = bytearray(content)
            for _ in range(rng.integers(1, 5)):
                start = rng.integers(len(damaged))
                damaged[start:start + rng.integers(4)] = pieces[rng.integers(len(pieces))]
            try:
                intervals += read(tmp_path, bytes(damaged))
            except UserError as error:
                sentences.append(str(error))
    assert len(sentences) > 50
    assert len(intervals) > 50
    assert not [sentence for sentence in sentences if "\n" in sentence]
    assert all(-1e9 <= start <= end <= 1e9 and text == " ".join(text.split()) for start, end, text in intervals)
