#!/bin/sh
# Lock the newest versions that fit, for every supported Python, with hashes and without any address.
set -eu
cd "$(dirname "$0")/.."

lock() {
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-package wallet-client --no-annotate --no-header pyproject.toml "$@"
}

lock --upgrade --group build --group dev --output-file requirements/dev.txt
lock --upgrade --group build --constraint requirements/dev.txt --output-file requirements/run.txt
lock --upgrade --group bench --constraint requirements/dev.txt --output-file requirements/bench.txt
