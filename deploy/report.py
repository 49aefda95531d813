"""The report of a retraining for a job summary or a pull request, and its verdict as an exit code; for deploy/ci."""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import sys
from pathlib import Path

from flows.registry.verdict import EXIT_CODES
from tasks.core.errors import EXIT_BROKEN
from tasks.core.files import write_text
from tasks.core.paths import PathsParams

PICTURE = re.compile(r"!\[(\w+)\]\(data:image/png;base64,([\w+/=]+)\)")
STATES = {verdict.value.capitalize(): code for verdict, code in EXIT_CODES.items()}
SAID = {0: "passed the gate", 3: "was refused by the gate", 4: "is undecided: the test images are too few to tell"}


def main(arguments: list[str]) -> int:
    """Writes .state/report.md and .state/pictures; the exit code of the run that is reported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, help="the Markdown that a retraining in this job left")
    parser.add_argument("--code", type=int, default=0, help="its exit code")
    parser.add_argument("--flow-run-name", help="a flow run on the server that PREFECT_API_URL names")
    given = parser.parse_args(arguments)
    state = PathsParams.load().paths.state
    if given.flow_run_name:
        text, code = of_flow_run(given.flow_run_name)
    else:
        text, code = given.result.read_text(encoding="utf-8") if given.result.exists() else "", given.code
    title = f"### The model {SAID.get(code, 'was not made: the run broke, see its log')}"
    write_text(state / "report.md", f"{title}\n\n{with_links(text, state / 'pictures', base_url())}\n")
    return code if given.flow_run_name else 0


def with_links(text: str, folder: Path, base: str) -> str:
    """The Markdown with its embedded pictures as files in `folder`, and links to them below `base`."""
    shutil.rmtree(folder, ignore_errors=True)

    def linked(found: re.Match[str]) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{found[1]}.png").write_bytes(base64.b64decode(found[2]))
        return f"![{found[1]}]({base}/{found[1]}.png)"

    return PICTURE.sub(linked, text)


def base_url() -> str:
    """Where deploy/ci/pictures.sh puts the pictures of this job."""
    server, repository = (os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY"))
    branch, run = os.environ.get("REPORT_BRANCH", "rootstock-reports"), os.environ.get("GITHUB_RUN_ID", "local")
    return f"{server}/{repository}/raw/{branch}/{run}"


def of_flow_run(name: str) -> tuple[str, int]:
    """The result that a flow run left as an artifact, and the exit code that its state stands for."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        ArtifactFilterKey,
        FlowRunFilter,
        FlowRunFilterName,
    )

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
        if not runs or runs[0].state is None:
            return "", EXIT_BROKEN
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[runs[0].id]), key=ArtifactFilterKey(any_=["retrain-result"])
        )
        found = client.read_artifacts(artifact_filter=wanted)
        return str(found[0].data) if found else "", STATES.get(runs[0].state.name or "", EXIT_BROKEN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
