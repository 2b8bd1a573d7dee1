"""tables.py: lines fit the terminal, and long names are shortened in the middle."""

import pytest

from audio_utils.runtime import tables


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")


def test_without_a_terminal_a_line_has_80_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert tables.columns() == 79


@pytest.mark.parametrize(("name", "limit", "shortened"), [
    ("short", 8, "short"), ("exactly8", 8, "exactly8"), ("Tube_Screamer_high", 9, "Tube…high"),
    ("12345678", 7, "123…678"),
    ("ノイズの多い録音", 9, "ノイ…録音"), ("a" + "e\u0301" * 9, 8, "aééé…ééé")])
def test_a_name_keeps_its_beginning_and_its_end(name, limit, shortened):
    assert tables.shorten(name, limit) == shortened
    assert tables.display_width(shortened) <= limit


def test_only_the_longest_names_are_shortened():
    assert tables.shorten_all(["dog", "a" * 30, "b" * 12], 30) == ["dog", "aaaaaaa…aaaaaaa", "b" * 12]
    assert tables.shorten_all(["dog", "cat"], 0) == ["dog", "cat"]
    assert tables.shorten_all(["a" * 30] * 2, 0) == ["aaaa…aaa"] * 2
    assert tables.shorten_all([], 5) == []


def test_a_table_fits_and_is_aligned():
    lines = tables.table([["class", "files", "AUC"], ["犬" * 30, "3", "0.99"], ["cat", "12345", "-"]])
    assert lines == ["class" + 20 * " " + "  files   AUC", "犬" * 6 + "…" + "犬" * 6 + "      3  0.99",
                     "cat" + 22 * " " + "  12345     -"]
    assert max(map(tables.display_width, lines)) <= 39


def test_a_short_table_takes_no_more_room_than_it_needs():
    assert tables.table([["class", "files", ""], ["cat", "1", "note"], ["dog", "2", ""]]) == [
        "class  files", "cat        1  note", "dog        2"]


def test_class_names_are_in_natural_order():
    names = ["e0a0", "e0a120", "e0a30", "Zebra", "apple", "x10", "x9b", "", "10", "9"]
    assert [names[i] for i in tables.natural_order(names)] == [
        "", "9", "10", "apple", "e0a0", "e0a30", "e0a120", "x9b", "x10", "Zebra"]


def test_numbers_have_six_characters_and_two_significant_digits():
    numbers = {12.3456: "12.346", 1.23456: "1.2346", 0.00123: "0.0012", 0.000012345: "1.2e-5", 1.1e-6: "1.1e-6",
               3.2e-11: " 3e-11", 0: "0.0000", 0.0001: "0.0001", 0.00009999: "1.0e-4"}
    assert {value: tables.number(value) for value in numbers} == numbers
    assert tables.number(-0.0) == "0.0000"


def test_names_that_differ_in_the_middle_stay_distinct():
    names = [f"noise_band_number_{i}_of_the_field_recordings" for i in (1, 10, 11, 2)] + ["chirp", "日本" * 9]
    short = tables.shorten_distinct(names, 18)
    assert short[:5] == [f"noise_…{part}…" for part in ("1_of_the_f", "10_of_the_", "11_of_the_", "2_of_the_f")] + [
        "chirp"]
    assert max(map(tables.display_width, short)) <= 18
    assert tables.shorten_distinct(names[:1] * 2, 18) == [tables.shorten(names[0], 18)] * 2
    assert len(set(tables.shorten_distinct([f"a very long name {i}".ljust(i) + "z" * 20 for i in range(30)], 12))) == 30
