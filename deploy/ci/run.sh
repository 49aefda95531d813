#!/usr/bin/env bash
# Retrains in the job itself. Exit code: 0 pass, 3 refused, 4 undecided, 1 and others: broken.
# RETRAIN_ARGS: overrides such as --finetune.epochs 20. GITHUB_STEP_SUMMARY: the file to which the report is appended.
set -uo pipefail
cd "$(dirname "$0")/../.."
make .venv/ready || exit 1
rm -f .state/result.md .state/report.md
read -ra arguments <<<"${RETRAIN_ARGS:-}"
.venv/bin/python -m flows retrain ${arguments[@]+"${arguments[@]}"}
code=$?
.venv/bin/python -m deploy.report --result .state/result.md --code "$code" || exit 1
cat .state/report.md >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit "$code"
