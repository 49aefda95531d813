"""The fetcher of `make serve`: the only one of its processes that knows MLflow, and that ends when it is not needed.

python -m flows.serving.fetcher, with messages on stdin and stdout.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from flows.serving.background import go_behind_others
from flows.serving.messages import MAX_TEXT, Channel, Failed, Fetch, Message, NoVersion, Servable, Unchanged
from tasks.core import interpreter
from tasks.core.errors import RootstockError

LINGER = 120.0  # seconds without a question, after which the process ends: with MLflow, it takes 160 MB


def main() -> int:
    """Answers the keeper's questions. Ends at once when the keeper has ended."""
    channel, questions = Channel(), SimpleQueue[Message]()
    Thread(target=_listen, args=(channel, questions), daemon=True).start()
    go_behind_others()
    with suppress(Empty):
        while True:
            question = questions.get(timeout=LINGER)
            if isinstance(question, Fetch):
                channel.send(answer(question))
    return 0


def _listen(channel: Channel, questions: SimpleQueue[Message]) -> None:
    while question := channel.receive():
        questions.put(question)
    os._exit(0)


def answer(question: Fetch) -> Servable | NoVersion | Unchanged | Failed:
    """Copies the version in question, if it may be served."""
    from flows.registry.outage import failures, quick_requests
    from flows.registry.version_files import is_temporary

    try:
        with quick_requests():
            return _fetched(question)
    except RootstockError as error:
        return Failed(str(error)[:MAX_TEXT], temporary=error.key in {"MLFLOW_TRACKING_URI", "disk-full"})
    except failures() as error:
        return Failed(f"MLflow: {error}".partition("\n")[0][:MAX_TEXT], temporary=is_temporary(error))


def _fetched(question: Fetch) -> Servable | NoVersion | Unchanged:
    from flows.config import parameters
    from flows.registry.servable import copy_servable, live_version, recorded_version
    from flows.registry.version_record import LiveVersion

    name = question.model
    if question.number is None:
        version = live_version(name)
        if version is None:
            return NoVersion()
    else:
        version = recorded_version(name, LiveVersion(number=question.number, made=question.made))
    number, made = str(version.version), int(version.creation_timestamp)
    if question.present == f"{number}-{made}":
        return Unchanged()
    folder = Path(question.folder)
    person_decides = parameters.load().gate.person_decides  # params.yaml may be edited meanwhile
    scorer, files = copy_servable(version, folder, person_decides=person_decides)
    return Servable(name, number, made, files, str(folder.absolute()), scorer.digest)


if __name__ == "__main__":
    interpreter.run(main)
