"""The HTTP application of a worker: answers for pictures, and the Open Inference Protocol v2."""

from __future__ import annotations

import asyncio
import json
import math
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import numpy as np
import torch
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from flows.serving.api import APP, INFER, PREDICT, VERSION_HEADER
from flows.serving.headers import SECONDS, SUSPECT
from flows.serving.messages import Servable
from tasks.serving import open_inference, output_tensors
from tasks.serving.answers import Answer, Extras, answer_of
from tasks.serving.bodies import BodyError, Picture, pictures_of
from tasks.serving.engine import Engine, Outputs
from tasks.serving.limits import Limits
from tasks.serving.quarantine import REASON, Quarantine

Result = TypeVar("Result")
LATE = "the time limit has passed"


@dataclass
class Service:
    """A loaded version, the threads that answer with it, and what it refuses. `began` are pictures in work, by when."""

    servable: Servable
    engine: Engine
    pool: ThreadPoolExecutor
    quarantine: Quarantine
    limits: Limits

    def __post_init__(self) -> None:
        self.began: dict[int, float] = {}

    async def run(self, work: Callable[[], Result], request: Request) -> Result:
        """Runs work in a thread, unless the front has given the request up before it begins."""
        deadline = time.monotonic() + float(request.headers.get(SECONDS, self.limits.seconds))
        return await asyncio.get_running_loop().run_in_executor(self.pool, self._timed, work, deadline)

    def _timed(self, work: Callable[[], Result], deadline: float) -> Result:
        now = time.monotonic()
        if now > deadline:
            raise BodyError(HTTPStatus.GATEWAY_TIMEOUT, LATE)
        self.began[id(work)] = now
        try:
            return work()
        finally:
            del self.began[id(work)]

    def is_well(self) -> bool:
        """Returns whether no picture is in work for much longer than a client waits for it."""
        return time.monotonic() - min([*self.began.values()], default=math.inf) < 2 * self.limits.seconds

    def outputs(self, data: bytes, *, embed: bool, suspect: bool) -> Outputs:
        """Answers an encoded image. Raises ValueError with the reason if there is no answer."""
        if self.quarantine.holds(data):
            raise ValueError(REASON)
        with self.quarantine.trying(data) if suspect else nullcontext():
            return self.engine.of_picture(data, embed=embed)

    def answer(self, picture: Picture, extras: Extras, *, suspect: bool) -> Answer:
        """Returns a picture's answer, or the reason why there is none."""
        name = {"name": picture.name} if picture.name else {}
        try:
            if picture.reason:
                return name | {"error": picture.reason}
            outputs = self.outputs(picture.data, embed=extras.embedding, suspect=suspect)
            return name | answer_of(self.engine, outputs, extras)
        except ValueError as reason:
            return name | {"error": str(reason)}

    async def each(self, works: Sequence[Callable[[], Result]], request: Request) -> list[Result]:
        """Runs works side by side; of a suspect request one after another, to see which one ends this process."""
        if SUSPECT in request.headers:
            return [await self.run(work, request) for work in works]
        return list(await asyncio.gather(*(self.run(work, request) for work in works)))


def worker_app(service: Service) -> FastAPI:
    """Returns the application."""
    app = FastAPI(version=service.servable.number, **APP)
    app.exception_handler(BodyError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(Exception)(_failed)
    _add_predict(app, service)
    _add_infer(app, service)

    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    servable = service.servable

    @app.post("/predict", **PREDICT)
    async def predict(request: Request, *, distribution: bool = False, embedding: bool = False) -> Response:
        """Answers pictures: an image as the body, a form with files, or JSON with base64."""
        body, extras = await request.body(), Extras(distribution, embedding)
        content_type = request.headers.get("content-type", "")
        pictures = await service.run(partial(pictures_of, content_type, body, service.limits.max_images), request)
        works = [partial(service.answer, picture, extras, suspect=SUSPECT in request.headers) for picture in pictures]
        answers = await service.each(works, request)
        content = {
            "model": servable.model,
            "version": servable.number,
            "digest": servable.digest,
            "predictions": answers,
        }
        status = HTTPStatus.OK if any("error" not in answer for answer in answers) else HTTPStatus.UNPROCESSABLE_ENTITY
        return _json(content, status, {VERSION_HEADER: servable.number})


def _add_infer(app: FastAPI, service: Service) -> None:
    servable = service.servable
    paths = (f"/v2/models/{{model}}{version}" for version in ("", "/versions/{version}"))
    for path in paths:

        @app.get(path)
        async def metadata(model: str, version: str | None = None) -> dict[str, Any]:
            """Returns inputs, outputs and classes of the version."""
            _check_name(servable, model, version)
            return output_tensors.metadata(service.engine, servable.model, servable.number)

        @app.get(f"{path}/ready")
        async def ready(model: str, version: str | None = None) -> dict[str, Any]:
            """Returns whether the version answers."""
            _check_name(servable, model, version)
            return {"name": servable.model, "ready": True}

        @app.post(f"{path}/infer", **INFER)
        async def infer(request: Request, model: str, version: str | None = None) -> Response:
            """Answers images by the Open Inference Protocol v2; tensors may be binary."""
            _check_name(servable, model, version)
            length = request.headers.get(open_inference.LENGTH_HEADER)
            size, most = service.engine.side, service.limits.max_images
            body = await request.body()
            parsed = await service.run(partial(open_inference.parsed_request, body, length, size, most), request)
            embed, suspect = output_tensors.EMBEDDING in parsed.outputs, SUSPECT in request.headers
            works = [partial(_outputs, service, image, embed=embed, suspect=suspect) for image in parsed.images]
            outputs = await service.each(works, request)
            tensors = output_tensors.output_tensors(service.engine, outputs, parsed.outputs)
            content, json_length = open_inference.response(parsed, servable.model, servable.number, tensors)
            headers = {VERSION_HEADER: servable.number}
            if json_length is None:
                return Response(content, media_type="application/json", headers=headers)
            headers[open_inference.LENGTH_HEADER] = str(json_length)
            return Response(content, media_type="application/octet-stream", headers=headers)


def _check_name(servable: Servable, model: str, version: str | None) -> None:
    """Raises BodyError if a path names another model or version than the one that is live."""
    if model != servable.model or version not in {None, servable.number}:
        live = f"version {servable.number} of {servable.model}"
        raise BodyError(HTTPStatus.NOT_FOUND, f"only {live} is served")


def _outputs(service: Service, image: bytes | np.ndarray, *, embed: bool, suspect: bool) -> Outputs:
    try:
        if isinstance(image, bytes):
            return service.outputs(image, embed=embed, suspect=suspect)
        return service.engine.of_input(torch.from_numpy(image.copy()), embed=embed)
    except ValueError as reason:
        raise BodyError(HTTPStatus.UNPROCESSABLE_ENTITY, str(reason)) from None


def _json(content: object, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(text, status, headers, media_type="application/json")


async def _refused(_request: Request, error: BodyError) -> Response:
    return _json({"error": str(error)}, error.status)


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return _json({"error": f"{first['loc'][-1]}: {first['msg']}"}, HTTPStatus.BAD_REQUEST)


async def _failed(_request: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return JSONResponse({"error": "the server failed; its log tells why"}, HTTPStatus.INTERNAL_SERVER_ERROR)
