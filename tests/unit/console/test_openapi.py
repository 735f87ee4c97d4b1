"""The document of the interface: it is the table, and real answers are as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bastion.console.interface import INTERFACE
from bastion.console.openapi import schema_of, whole_document
from bastion.console.routes import ROUTES, Route
from tests.unit.cli.made import FIRST, SECOND
from tests.unit.console.made import ConsoleSite, Program

DATA = [route for route in ROUTES if route.is_data]
KEPT = Path(__file__).parents[3] / "docs" / "openapi.json"


def validator(schema: Any) -> Draft202012Validator:
    """With the document's own shapes."""
    document = whole_document()
    return Draft202012Validator({**schema, "components": document["components"]})


def test_every_route_for_programs_is_in_it_and_nothing_else() -> None:
    assert set(INTERFACE) == {route.name for route in DATA}
    paths = whole_document()["paths"]
    assert {(method.upper(), path) for path, one in paths.items() for method in one} == {
        (route.method, route.path) for route in DATA
    }


def test_its_schemas_are_schemas() -> None:
    document = whole_document()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                Draft202012Validator.check_schema(parameter["schema"])
    with pytest.raises(TypeError):
        schema_of(Path, {})


def test_the_one_in_docs_is_that_of_the_code() -> None:
    assert json.loads(KEPT.read_text()) == json.loads(json.dumps(whole_document())), "make tables"


@pytest.fixture(scope="module")
def program(console: ConsoleSite) -> Program:
    return console.browser("adm", "127.3.0.1").program()


@pytest.mark.slow
@pytest.mark.parametrize("route", DATA, ids=lambda route: f"{route.method} {route.path}")
def test_what_is_answered_has_the_shape_that_it_says(program: Program, route: Route) -> None:
    operation = whole_document()["paths"][route.path][route.method.lower()]
    order = {"session": FIRST, "reason": "x", "kind": "user", "value": "alice", "text": "x", "tag": "x"}
    form = {**order, "answer": "approve", "code": "123456"} if route.changes else None
    if route.path.startswith("/api/v1/searches") and route.changes:
        form = {"q": "done", "title": "x", "search": "a" * 16}
    there = SECOND if route.changes else FIRST
    for part in (there, "zzzzzzzzzzzzzzzz"):
        got = program.ask(route.method, route.path.format(session=part, form="text", request="a" * 10), form)
        answer = operation["responses"][str(got.status)]
        if "$ref" in answer:
            answer = whole_document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        schema = answer["content"][got.headers["content-type"].partition(";")[0]]["schema"]
        if route.name != "export" or got.status != 200:
            validator(schema).validate(got.json)
    of_rows = ("api_access", "api_note", "api_tag", "api_mark", "api_hold")
    assert got.status in (200, 404, 503) or (got.status == 400 and route.name in of_rows) or route.in_person
    if route.name in of_rows[1:] or route.name == "api_save_search":
        first = program.ask(route.method, route.path.format(session=SECOND), form)
        assert first.status == 200, first.text


@pytest.mark.slow
def test_faults_of_parameters_have_the_shape_of_a_refusal(program: Program) -> None:
    refusal = whole_document()["components"]["responses"]["refused_400"]["content"]["application/json"][
        "schema"
    ]
    for path in ("/api/v1/sessions?since=x", "/api/v1/search?q=%20.%20&kind=x", "/api/v1/sessions?a"):
        got = program.get(path)
        assert got.status == 400
        validator(refusal).validate(got.json)
    assert set(program.get("/api/v1/sessions?since=x&rows=0").json["fields"]) == {"since", "rows"}


@pytest.mark.slow
def test_it_is_served_to_whoever_has_signed_in(console: ConsoleSite, program: Program) -> None:
    assert program.get("/api/v1/openapi.json").json == json.loads(KEPT.read_text())
    assert console.browser("abe", "127.3.0.2").get("/api/v1/openapi.json").status == 200
    assert console.browser(source="127.3.0.3").get("/api/v1/openapi.json").status == 401
