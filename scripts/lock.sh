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
# What the Slurm executor adds to requirements.lock, in versions that go with it.
mapfile -t locked < <(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package\n\1/p' requirements.lock)
compile pyproject.toml --extra slurm --constraints requirements.lock "${locked[@]}" --output-file requirements-slurm.lock
python3 scripts/conda_environment.py
