"""The table of Rich Text in the data card, made in small."""

from dataclasses import replace

import pytest

from data.training import rich_text


@pytest.mark.slow
def test_every_bar_has_its_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rich_text, "DEMO", replace(rich_text.DEMO, steps=5))
    rich_text.main(["--scenes", "3", "--sheet", str(tmp_path / "sheet.png")])
    shown = capsys.readouterr().out
    for bar in ("≤ 0.6", "≥ 20", "≤ 0.05", "≥ 0.4"):
        assert f"| {bar} |" in shown
    assert (tmp_path / "sheet.png").is_file()
