"""What README.md says is so: its examples run and its references exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_examples_print_what_they_say() -> None:
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted >= 6
    assert result.failed == 0


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", README.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (ROOT / target).exists(), f"README.md refers to {target}"


def test_no_row_waits_for_a_number() -> None:
    """A table of measurements is filled, or it is not there."""
    assert "TO BE MEASURED" not in README.read_text(encoding="utf-8")
