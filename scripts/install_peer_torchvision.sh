#!/usr/bin/env bash
# Puts a torchvision into FOLDER for vLLM's own LLaVA class, whose imports need one: scripts/install_peer_torchvision.sh PYTHON FOLDER
# Beside a CPU torch, PyPI's torchvision cannot load its own operators, and its import fails where it describes them. No
# image processor uses those: without the descriptions it imports. For a peer's process alone, by PYTHONPATH.
set -euo pipefail
python=$1 folder=$2
"$python" -m pip --disable-pip-version-check install --quiet --no-deps --upgrade --target "$folder" torchvision==0.28.0
sed -i '/^ *_meta_registrations,$/d' "$folder/torchvision/__init__.py"
