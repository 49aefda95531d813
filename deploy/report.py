"""Reports a retraining to a CI job: Markdown for the job summary or pull request, and the verdict as the exit code."""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import sys
from pathlib import Path

from flows.local.state import open_state
from flows.registry.verdict import EXIT_CODES
from tasks.core.errors import EXIT_BROKEN
from tasks.core.files import write_text
from tasks.core.paths import PathsParams

PICTURE = re.compile(r"!\[(\w+)\]\(data:image/png;base64,([\w+/=]+)\)")
STATES = {verdict.value.capitalize(): code for verdict, code in EXIT_CODES.items()}
OUTCOMES = {
    0: "passed the gate",
    3: "was refused by the gate",
    4: "is undecided: there are too few test images",
}


def main(arguments: list[str]) -> int:
    """Writes .state/report.md and .state/pictures. Returns the exit code of the flow run, or 0 for --result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, help="the Markdown file that a retraining in this job wrote")
    parser.add_argument("--code", type=int, default=0, help="exit code of that retraining")
    parser.add_argument("--flow-run-name", help="name of a flow run on the server of PREFECT_API_URL")
    options = parser.parse_args(arguments)
    state = PathsParams.load().paths.state
    open_state(state)
    if options.flow_run_name:
        text, code = of_flow_run(options.flow_run_name)
    else:
        text, code = options.result.read_text(encoding="utf-8") if options.result.exists() else "", options.code
    title = f"### The model {OUTCOMES.get(code, 'was not made: the run broke, see its log')}"
    write_text(state / "report.md", f"{title}\n\n{with_links(text, state / 'pictures', base_url())}\n")
    return code if options.flow_run_name else 0


def with_links(text: str, folder: Path, base: str) -> str:
    """Moves images embedded in Markdown to files in `folder`. Returns the Markdown with links to them below `base`."""
    shutil.rmtree(folder, ignore_errors=True)

    def link(picture: re.Match[str]) -> str:
        name, content = picture.groups()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(base64.b64decode(content))
        return f"![{name}]({base}/{name}.png)"

    return PICTURE.sub(link, text)


def base_url() -> str:
    """Returns the URL below which deploy/ci/pictures.sh publishes this job's images."""
    server, repository = (os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY"))
    branch, run = os.environ.get("REPORT_BRANCH", "rootstock-reports"), os.environ.get("GITHUB_RUN_ID", "local")
    return f"{server}/{repository}/raw/{branch}/{run}"


def of_flow_run(name: str) -> tuple[str, int]:
    """Returns a flow run's result artifact as Markdown (empty if there is none) and the exit code of its state."""
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
        artifact_filter = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[runs[0].id]), key=ArtifactFilterKey(any_=["retrain-result"])
        )
        artifacts = client.read_artifacts(artifact_filter=artifact_filter)
        return str(artifacts[0].data) if artifacts else "", STATES.get(runs[0].state.name or "", EXIT_BROKEN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
