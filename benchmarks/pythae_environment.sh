#!/bin/sh
# An environment of its own for pythae, with the PyTorch that vaeneer is measured on:
#
#     sh benchmarks/pythae_environment.sh SCRATCH
#
# makes SCRATCH/pythae (Python 3.11 to 3.13, about a minute) and prints its interpreter.
# pythae 0.1.2 is its last release; the versions are those that were measured.
set -eu
folder=${1:?name a scratch folder}/pythae
python=${PYTHON:-python3}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet pythae==0.1.2 torch==2.13.0 pydantic==2.14.3
"$folder/bin/python" -c "import pythae.trainers" >&2
echo "$folder/bin/python"
