"""Documents of commands against their schemas; what a schema doesn't describe is refused here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[1] / "docs" / "reference" / "schemas"


def names() -> list[str]:
    """Of the schemas, without their suffix."""
    return sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))


def read(name: str) -> dict[str, Any]:
    """The schema of that name as it is published: members may be added."""
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return document


def errors(name: str, document: object) -> list[str]:
    """What is wrong with ``document``, a member that the schema doesn't describe included."""
    registry: Registry[Any] = Registry().with_resources(
        (f"{each}.schema.json", Resource.from_contents(_closed(read(each)))) for each in names()
    )
    validator = Draft202012Validator(_closed(read(name)), registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def _closed(schema: Any) -> Any:
    """``schema`` with every object closed that lists its members."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed["additionalProperties"] = False
    return closed
