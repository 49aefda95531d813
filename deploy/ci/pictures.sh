#!/usr/bin/env bash
# Pushes the report's pictures to a separate branch: job summaries and comments cannot show embedded pictures.
# PICTURES: their folder. REPORT_BRANCH: the branch. GITHUB_RUN_ID: the folder on it. PUSH_TOKEN: a token that may push;
# without it, git uses the credentials that it has.
set -euo pipefail
cd "$(dirname "$0")/../.."
pictures="${PICTURES:-.state/pictures}"
[ -d "$pictures" ] || { echo "no pictures to show"; exit 0; }
if [ -n "${PUSH_TOKEN:-}" ]; then  # not as an argument or in .git/config, which other programs can read
  basic=$(printf 'x-access-token:%s' "$PUSH_TOKEN" | base64 | tr -d '\n')
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.${GITHUB_SERVER_URL:-https://github.com}/.extraheader"
  export GIT_CONFIG_VALUE_0="Authorization: Basic $basic"
fi
branch="${REPORT_BRANCH:-rootstock-reports}" folder="${GITHUB_RUN_ID:-local}"
place=$(mktemp -d)
trap 'git worktree remove --force "$place" 2>/dev/null || true' EXIT
git fetch --quiet origin "$branch" 2>/dev/null || true
if git rev-parse --verify --quiet FETCH_HEAD >/dev/null && git ls-remote --exit-code --heads origin "$branch" >/dev/null; then
  git worktree add --quiet --force --detach "$place" FETCH_HEAD
else
  git worktree add --quiet --force --detach "$place" HEAD
  git branch --quiet -D "$branch-new" 2>/dev/null || true  # left by an attempt whose push failed
  git -C "$place" checkout --quiet --orphan "$branch-new"
  git -C "$place" rm -rfq --cached . && find "$place" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
fi
mkdir -p "$place/$folder"
find "$pictures" -maxdepth 1 -type f -name '*.png' -exec cp {} "$place/$folder/" ';'
git -C "$place" add "$folder"
git -C "$place" diff --cached --quiet && { echo "the pictures of run $folder are there already"; exit 0; }
as() { git -C "$place" -c user.name=rootstock -c user.email=rootstock@localhost "$@"; }
as commit --quiet -m "Pictures of run $folder"
for _ in 1 2 3 4 5; do
  git -C "$place" push --quiet origin "HEAD:refs/heads/$branch" && exit 0
  as pull --quiet --rebase origin "$branch"  # another run pushed first
done
exit 1
