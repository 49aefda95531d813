from __future__ import annotations

from flows.local.rotation import KEPT, numbered, rotate


def test_a_log_that_is_being_written_is_copied_and_emptied(tmp_path):
    file = tmp_path / "server.log"
    with file.open("ab", buffering=0) as writer:
        for number in range(KEPT + 2):
            writer.write(b"line %d\n" % number)
            assert not rotate(file, 7)
            writer.write(b".")
            assert rotate(file, 7)
        writer.write(b"now\n")
    assert file.read_text() == "now\n"
    assert [numbered(file, 1 + age).read_text()[:6] for age in range(KEPT)] == ["line 4", "line 3", "line 2"]
    assert not numbered(file, KEPT + 1).exists()


def test_a_log_that_is_not_there_is_no_error(tmp_path):
    assert not rotate(tmp_path / "none.log")
