"""The reference pages say what the code says."""

from __future__ import annotations

import pytest

from docs import generate


@pytest.mark.parametrize("name", sorted(generate.pages()))
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    written = (generate.FOLDER / name).read_text()
    assert written == generate.pages()[name], "run `make generate`"


def test_no_field_of_a_trainingjob_is_without_a_description() -> None:
    bare = [row for row in generate.trainingjob().splitlines() if row.endswith("|  |")]
    assert bare == []
