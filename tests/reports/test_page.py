from __future__ import annotations

from tasks.core.schema import Candidate
from tasks.reports import diagrams
from tasks.reports.page import PageSection, markdown_table, page


def test_a_page_embeds_its_images_and_escapes_its_texts(tmp_path):
    diagrams.candidates(tmp_path / "c.png", {Candidate.PROBE: (0.9, 0.8, 0.95)}, "accuracy", 1)
    picture = tmp_path / "c.png"
    html = page("<b>", [PageSection("heading", "text & more", columns=["a"], rows=[["<i>"]], picture=picture)])
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html
    assert "data:image/png;base64,iVBOR" in html


def test_markdown_cells_may_hold_pipes_and_line_breaks():
    assert markdown_table(["a|b"], [["c|d\ne"]]).splitlines() == [r"| a\|b |", "| --- |", r"| c\|d e |"]
