#!/usr/bin/env bash
# Installs a torchvision into FOLDER for vLLM's own LLaVA class, which imports one:
#   scripts/install_peer_torchvision.sh PYTHON FOLDER
# Next to a CPU torch, PyPI's torchvision cannot load its own operators, and its import fails where it registers shape
# functions for them. No image processor uses these operators, so the registration is removed. The benchmarks put FOLDER
# on the PYTHONPATH of the peers' processes only.
set -euo pipefail
python=$1 folder=$2
"$python" -m pip --disable-pip-version-check install --quiet --no-deps --upgrade --target "$folder" torchvision==0.28.0
sed -i '/^ *_meta_registrations,$/d' "$folder/torchvision/__init__.py"
