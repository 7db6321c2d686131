# Untried: no Docker was at hand. It sets everything up as `make` does, and trains on the rooms:
#   docker build -t rock_d2 .                                      # CPU
#   docker build -t rock_d2 --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
#   docker run --rm -v "$PWD/output:/rock_d2/output" rock_d2       # CUDA: --gpus all
ARG BASE=python:3.12-slim
FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        build-essential git python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /rock_d2
COPY . .
RUN make venv && make rooms
CMD ["make", "train"]
