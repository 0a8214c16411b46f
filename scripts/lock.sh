#!/usr/bin/env bash
# Renew the lock files: exact versions with hashes, and no server names. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
    --custom-compile-command "scripts/lock.sh" "$@"
}
compile pyproject.toml --extra dev --output-file requirements.lock
compile --group jax --output-file requirements-jax.lock
