# The server as an image: with a GPU by default, without one by `--build-arg DEVICE=cpu`.
#   docker build -t llava-interleave-serve .
#   docker run --gpus all --ipc=host -p 8000:8000 -v models:/models llava-interleave-serve llava-hf/llava-interleave-qwen-7b-hf
# The wheels of torch bring CUDA with them, so that one plain base serves both; the driver comes from the host.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG DEVICE=gpu

# g++ and the headers: Triton, Inductor and the media path compile at the start or on first use. libnuma: vLLM binds its threads by it.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ libnuma1 $(command -v python3 >/dev/null && [ ! -e /usr/local/bin/python3 ] && echo python3-venv python3-dev) \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/venv \
 && useradd --create-home --uid 1000 server \
 && install -d -o server /models

# The dependencies change seldom: a layer of their own.
WORKDIR /src
COPY requirements requirements
COPY scripts/install.sh scripts/install.sh
RUN scripts/install.sh /opt/venv/bin/python "$DEVICE" && rm -rf /root/.cache

COPY . .
RUN /opt/venv/bin/python -m pip install --no-deps --no-build-isolation --no-cache-dir . && rm -rf /src/*

# What vLLM and Triton compile is kept on the volume, beside the weights; the C library of the media path and flashinfer's
# workspace are under /tmp, and made anew at every start. The container runtime reads NVIDIA_*.
ENV PATH=/opt/venv/bin:$PATH \
    HF_HOME=/models \
    VLLM_CACHE_ROOT=/models/.cache/vllm \
    TRITON_CACHE_DIR=/models/.cache/triton \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LLAVA_INTERLEAVE_ADDRESS_FILE=/tmp/llava-interleave-address \
    XDG_CACHE_HOME=/tmp/cache \
    TRITON_HOME=/tmp/cache \
    FLASHINFER_WORKSPACE_BASE=/tmp/cache \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
# By number: a cluster that lets nobody run as root cannot tell by a name. All that is written is under /tmp and /models.
USER 1000
WORKDIR /home/server
VOLUME /models
EXPOSE 8000
# Alive, not ready: weights may take minutes to load, and that is no reason to be restarted. At whatever --port.
HEALTHCHECK --start-period=10m --interval=15s --timeout=5s \
    CMD ["python", "-m", "llava_interleave_serve.server.health_check"]
ENTRYPOINT ["llava-interleave", "serve", "--host", "0.0.0.0"]
