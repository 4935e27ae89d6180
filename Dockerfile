# pcam for the CPU:  docker build -t pcam .
# and for a GPU:     docker build -t pcam-cuda --target cuda .
#
# Run it on the files of the current folder; the volume keeps compiled kernels from run to run:
#   docker run --rm --user "$(id -u):$(id -g)" -v pcam-cache:/cache -v "$PWD":/work pcam run data/kaggle results
# and on a GPU with `--gpus all` and `pcam-cuda`, which needs NVIDIA's container toolkit on the host.
#
# No image has been built of this file yet: its commands were tried in a shell, and hadolint finds no fault.
FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 XDG_CACHE_HOME=/cache
WORKDIR /opt/pcam
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pcam_features pcam_features
RUN mkdir --mode=1777 /cache
ENTRYPOINT ["pcam"]

# The extra brings CUDA's libraries, so the base image needs none.
FROM base AS cuda
RUN pip install --constraint constraints.txt '.[all,cuda12]'
WORKDIR /work

# XGBoost's package for the CPU has the same module as the one that pcam requires, without 680 MB for GPUs.
FROM base AS cpu
RUN pip install --constraint constraints.txt '.[all]' \
    && pip uninstall --yes xgboost nvidia-nccl-cu12 \
    && pip install 'xgboost-cpu==3.2.*'
WORKDIR /work
