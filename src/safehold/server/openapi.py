"""The description of all requests, made from the routes, the types of their bodies and what their handlers say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from safehold.server.answers import Described, description_of

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_ANONYMOUS = ("/state", "/prelogin", "/login", "/accounts", "/enrolments", "/health", "/openapi.json", "/poll", "/openid")
_REFUSAL = {
    "type": "object",
    "required": ["code", "message", "hint"],
    "properties": {name: {"type": "string"} for name in ("code", "message", "hint")},
}


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    listed = [route for route in routes if isinstance(route, Route) and route.path.startswith("/api/")]
    bodies = {described.body for route in listed if (described := description_of(route.endpoint)).body not in (None, bytes)}
    kinds = sorted((body for body in bodies if body is not msgspec.Raw), key=lambda kind: f"{kind.__module__}.{kind.__name__}")
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    known = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = _PARAMETER.sub(r"{\1}", route.path)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(route, description_of(route.endpoint), known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Safehold", "version": "1", "description": "The online server. docs/server.md explains it."},
        "paths": paths,
        "components": {
            "schemas": {**components, "Refusal": _REFUSAL},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(route: Route, described: Described, known: dict[Any, Any]) -> dict[str, Any]:
    told = inspect.getdoc(route.endpoint) or ""
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    parameters = [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in _PARAMETER.findall(route.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in described.query]
    made: dict[str, Any] = {
        "operationId": f"{route.endpoint.__module__.removeprefix('safehold.server.')}.{route.endpoint.__name__}",
        "summary": told.split("\n")[0],
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "Done"},
            "default": {"description": "Refused: `docs/server.md` lists the codes", "content": refusal},
        },
    }
    if described.body is bytes:
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    elif described.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": known.get(described.body, {})}}}
    if any(route.path.endswith(end) for end in _ANONYMOUS):
        made["security"] = [{}]
    return made
