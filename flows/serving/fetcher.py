"""The fetcher of `make serve`: the only one of its processes that knows MLflow, and that ends when it is not needed.

python -m flows.serving.fetcher, with messages on stdin and stdout.
"""

from __future__ import annotations

import select
import sys
from pathlib import Path

from flows.serving.background import go_behind_others
from flows.serving.messages import Channel, Failed, Fetch, NoVersion, Servable
from tasks.core import interpreter
from tasks.core.errors import RootstockError

LINGER = 120.0  # seconds without a question, after which the process ends: with MLflow, it takes 300 MB
EXPECTED = (OSError, ValueError)


def main() -> int:
    """Answers the keeper's questions."""
    channel = Channel()
    go_behind_others()
    from flows.config import parameters

    while select.select([sys.stdin], [], [], LINGER)[0] and (question := channel.receive()):
        if isinstance(question, Fetch):
            # params.yaml may be edited meanwhile
            channel.send(answer(question, person_decides=parameters.load().gate.person_decides))
    return 0


def answer(question: Fetch, *, person_decides: bool) -> Servable | NoVersion | Failed:
    """Copies the version in question, if it may be served."""
    from flows.registry.outage import failures, quick_requests
    from flows.registry.version_files import is_temporary

    try:
        with quick_requests():
            return _fetched(question, person_decides=person_decides)
    except RootstockError as error:
        return Failed(str(error), temporary=error.key in {"MLFLOW_TRACKING_URI", "disk-full"})
    except failures() as error:
        return Failed(f"MLflow: {error}".partition("\n")[0], temporary=is_temporary(error))


def _fetched(question: Fetch, *, person_decides: bool) -> Servable | NoVersion:
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
    folder = Path(question.folder) / f"{number}-{made}"
    scorer, files = copy_servable(version, folder, person_decides=person_decides)
    return Servable(name, number, made, files, str(folder.absolute()), scorer.digest)


if __name__ == "__main__":
    interpreter.run(main)
