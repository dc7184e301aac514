"""The rows of the ledger for machines, and the schema that stands beside them."""

import copy
import json
from typing import Any

import jsonschema
import pytest
import xarray as xr

from companion.lab.catalog import claims
from companion.lab.checks import identity, note
from companion.lab.results import Check, Control, Result, Verdict
from companion.press.book import Book
from companion.press.ledger import Findings
from companion.press.rows import row_schema

# pydantic writes a later draft, of which it uses nothing that this one has not.
VALIDATOR = jsonschema.Draft7Validator(row_schema())


def rows() -> list[dict[str, Any]]:
    result = Result(
        "du2019/linear_rate", {}, xr.Dataset(), profile="quick", fingerprint="f", summary="What."
    )
    checks = (identity("both sides", [0.0], 1e-9), note("By the way"), Check("yes", "a", "b"))
    told = Verdict("du2019-thm4.1", "holds", "p", "s", checks, Control("a lie", "fails"))
    return Findings({"page": [result]}, {"f": [told]}, {"page": []}).rows()


def test_a_row_tells_graph_scope_and_evidence() -> None:
    (row,) = rows()
    assert row["rests_on"] == list(claims()["du2019-thm4.1"].rests_on)
    assert "du2019-lem3.2" in row["rests_on"]
    assert set(row["supports"]) >= {"du2019-width-explicit", "du2019-digits"}
    assert (row["scope"], row["evidence"]) == ("What.", ["identity", "bound"])
    assert [check["kind"] for check in row["checks"]] == ["identity", "note", "bound"]


def test_the_schema_accepts_what_is_written() -> None:
    VALIDATOR.check_schema(row_schema())
    VALIDATOR.validate(json.loads(json.dumps(rows())))


@pytest.mark.parametrize(
    "doctored",
    [
        {"outcome": "maybe"},
        {"rests_on": "du2019-lem3.2"},
        {"supports": [1]},
        {"evidence": ["hearsay"]},
        {"profile": "slow"},
        {"scope": None},
        {"another": "field"},
        {"checks": [{"answer": "yes"}]},
        {"rests_on": ...},
        {"id": ...},
    ],
    ids=str,
)
def test_the_schema_refuses_another_row(doctored: dict[str, Any]) -> None:
    told = copy.deepcopy(rows())
    told[0].update(doctored)
    told[0] = {name: value for name, value in told[0].items() if value is not ...}
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(told)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"rows": told})


def test_a_built_site_has_rows_that_its_own_schema_accepts(small_book: Book) -> None:
    site = small_book.output / "html"
    told = json.loads((site / "claims.json").read_text(encoding="utf-8"))
    schema = json.loads((site / "claims.schema.json").read_text(encoding="utf-8"))
    assert schema == row_schema()
    assert told
    jsonschema.Draft7Validator(schema).validate(told)
