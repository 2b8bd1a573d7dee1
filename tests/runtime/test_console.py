"""console.py: on a terminal, long lines are broken between words; elsewhere they stay as they are."""

from audio_utils.runtime import console

SENTENCE = "Samples/bird/a-long-name.wav: is empty;  replace or remove it."


def test_on_a_terminal_long_lines_are_broken_between_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "31")
    monkeypatch.setattr(console, "is_terminal", lambda _: True)
    console.say(f"class  files\n{SENTENCE}\n\n    {'x' * 20} y zzzzzz")
    console.warn(SENTENCE)
    out, err = capsys.readouterr()
    assert err == "Samples/bird/a-long-name.wav:\nis empty;  replace or remove\nit.\n"
    assert out == f"class  files\n{err}\n    {'x' * 20} y zzzzzz\n"


def test_elsewhere_a_message_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "31")
    console.say(SENTENCE)
    console.warn(SENTENCE)
    assert tuple(capsys.readouterr()) == (f"{SENTENCE}\n",) * 2
