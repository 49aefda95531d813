"""What the OpenAPI description says beside the code: bodies, answers and examples."""

from __future__ import annotations

from typing import Any, Final

VERSION_HEADER: Final = "x-rootstock-version"  # of each answer, so that a client need not parse it
APP: Final[dict[str, Any]] = {  # arguments of FastAPI; its pages would load scripts from elsewhere
    "title": "Rootstock",
    "description": "Answers pictures with the version that is live in MLflow. Every answer names the version.",
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
}
BASE64_EXAMPLE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsaxXLQAAAABJRU5ErkJggg=="
PREDICTION: Final = {
    "name": "a.jpg",
    "label": "seven",
    "probability": 0.97,
    "runner_up": {"label": "one", "probability": 0.02},
    "confident": True,
}
ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model", "version", "digest", "predictions"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "digest": {"type": "string", "description": "SHA-256 of the version's code, spec and weights"},
        "predictions": {
            "type": "array",
            "description": "an answer for each picture, in their order, or the reason in `error`",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "label": {"type": "string"},
                    "labels": {"type": "array", "items": {"type": "string"}, "description": "of multi-label models"},
                    "probability": {"type": "number", "description": "calibrated"},
                    "runner_up": {"type": ["object", "null"]},
                    "confident": {"type": "boolean"},
                    "values": {"type": "object", "description": "of each target, in regression"},
                    "distribution": {"type": "object"},
                    "embedding": {"type": "array", "items": {"type": "number"}},
                    "error": {"type": "string"},
                },
            },
        },
    },
}
ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": description, "content": {"application/json": {"schema": ERROR_SCHEMA}}}
    for status, description in {
        400: "the body is not what its content type says",
        401: "the token is missing or wrong",
        403: "the request names another host, or comes from a page of another site",
        404: "no such path, model or version",
        405: "the path has another method",
        408: "the body did not arrive within the time limit",
        413: "the body is too large, or holds too many pictures",
        415: "a content type that is not understood",
        503: "no version is live, or too many requests wait; see Retry-After",
        504: "no answer within the time limit",
    }.items()
}
BODIES: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "anyOf": [
                                {"type": "string", "contentEncoding": "base64"},
                                {
                                    "type": "object",
                                    "required": ["data"],
                                    "properties": {
                                        "name": {"type": "string"},
                                        "data": {"type": "string", "contentEncoding": "base64"},
                                    },
                                },
                            ]
                        },
                    }
                },
            },
            "example": {"images": [{"name": "a.png", "data": BASE64_EXAMPLE}]},
        },
    },
}


def _answered(example: object) -> dict[str, Any]:
    return {"application/json": {"schema": ANSWER_SCHEMA, "example": example}}


EXAMPLE: Final = {"model": "rootstock", "version": "3", "digest": "5d3c...", "predictions": [PREDICTION]}
BROKEN: Final = {**EXAMPLE, "predictions": [{"name": "a.txt", "error": "not an image but text"}]}
PREDICT: Final[dict[str, Any]] = {
    "openapi_extra": {"requestBody": BODIES},
    "responses": {
        200: {"description": "at least one picture has an answer", "content": _answered(EXAMPLE)},
        422: {"description": "no picture has an answer", "content": _answered(BROKEN)},
        **ERRORS,
    },
}
INFER_EXAMPLE: Final = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [BASE64_EXAMPLE]}]}
INFER: Final[dict[str, Any]] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "example": INFER_EXAMPLE}},
        }
    },
    "responses": {422: {"description": "a picture has no answer"}, **ERRORS},
}
