"""The table of editors in the data card, made in small: every bar has its row."""

from dataclasses import replace
from functools import partial

import pytest

from data.training import measure, measure_edits


@pytest.mark.slow
def test_every_bar_of_the_editors_has_its_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "protocol", partial(measure.protocol, steps=2))
    measure_edits.main(["--scenes", "3", "--work", str(tmp_path)])
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {(cells[0].removeprefix("| "), cells[1]): cells for cells in lines}
    bars = {key: cells[2] for key, cells in rows.items() if cells[2].startswith(("≥", "≤"))}
    assert bars["TurboEdit", "edit done"] == "≥ 0.4" and bars["TurboEdit with boxes", "edit done"] == "≥ 0.7"
    own = {name: bar for (part, name), bar in bars.items() if part == "InstructPix2Pix"}
    assert own["edit done"] == "≥ 0.8" and own["place edit recognised"] == "≥ 0.9" and len(own) == 6
    assert float(rows["control", "edit done, untouched photo"][3]) == 0
    assert float(rows["control", "edit done, exact target"][3]) == 1


def test_a_wrong_instruction_names_a_thing_that_is_not_there():
    edit = measure_edits.edits.Edit(0, "a red cone", "a blue cone", "make the red cone blue")
    assert measure_edits.wrong_instruction(edit, "worker").instruction == "make the vest blue"
    assert replace(edit, instruction="") == replace(
        measure_edits.wrong_instruction(edit, "truck"), instruction=""
    )
