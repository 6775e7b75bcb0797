#!/bin/sh
# Pins requirements*.txt to requirements*.lock, with hashes. http-parser is compat/http-parser, which is installed from this tree.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/pip-compile ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2
for name in requirements requirements-dev; do
  sed '/^\.\//d; s/^-r requirements.txt$/-r requirements.flat.in/' "$name.txt" >"$name.flat.in"
done
for name in requirements requirements-dev; do
  CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
    --allow-unsafe --no-annotate --output-file="$name.lock" "$name.flat.in"
  # the block of http-parser: its first line and the indented ones that follow
  sed -i '/^http-parser==/,/^[^ ]/{/^http-parser==/d;/^ /d}' "$name.lock"
done
grep -v '^#' requirements-data.lock >>requirements-dev.lock
rm -f requirements.flat.in requirements-dev.flat.in
