#!/usr/bin/env bash
# Retrains on the server of PREFECT_API_URL and waits for the result. Exit code: 0 pass, 3 refused, 4 undecided,
# 1 broken. RETRAIN_PARAMETERS: JSON of sections that override params.yaml, such as {"finetune": {"epochs": 20}}.
set -uo pipefail
cd "$(dirname "$0")/../.."
make .venv/ready || exit 1
rm -f .state/report.md
.venv/bin/python -m deploy.server || exit 1
[ -n "${GITHUB_SHA:-}" ] && commit=(--job-variable "env={\"ROOTSTOCK_COMMIT\": \"$GITHUB_SHA\"}") || commit=()
name="ci-${GITHUB_SHA:-local}-${GITHUB_RUN_ID:-$$}-${GITHUB_RUN_ATTEMPT:-1}"
.venv/bin/prefect --no-prompt deployment run "${RETRAIN_DEPLOYMENT:-retrain/on-demand}" \
  --flow-run-name "$name" --tag "sha:${GITHUB_SHA:-local}" ${commit[@]+"${commit[@]}"} \
  --params "{\"parameters\": ${RETRAIN_PARAMETERS:-{\}}}" \
  --watch --watch-timeout "${RETRAIN_TIMEOUT:-7200}"
.venv/bin/python -m deploy.report --flow-run-name "$name"
code=$?
[ -f .state/report.md ] && cat .state/report.md >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit "$code"
