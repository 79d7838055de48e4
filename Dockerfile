# The environment of requirements.lock in an image.
#
#   docker build -t gbw-panoptic:cuda .                                                           any machine; GPUs with --gpus all
#   docker build -t gbw-panoptic:cpu --build-arg VARIANT=cpu --build-arg TORCH_INDEX=<address> .  no GPU, 4 GB smaller
#   docker run --rm -v $PWD/output:/gbw/output gbw-panoptic:cuda tools/doctor.py
#
# TORCH_INDEX is PyTorch's index of wheels for the CPU. The CUDA libraries come with the lock, so the base has none; only the
# driver is the machine's. pip's own settings, such as a mirror, and the certificates of a proxy are secrets of the build, which
# BuildKit leaves out of the image: --secret id=pip.conf,src=<file> --secret id=certificates,src=<bundle>.
FROM python:3.12-slim

# H.264 for videos
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg && rm -rf /var/lib/apt/lists/*

WORKDIR /gbw
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY gbw_panoptic gbw_panoptic
COPY tools tools

ARG VARIANT=cuda
ARG TORCH_INDEX=""

# Of the same version, a wheel for the CPU counts as newer, so pip takes it.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    case "$VARIANT" in \
      cuda) ;; \
      cpu) [ -n "$TORCH_INDEX" ] || { echo "VARIANT=cpu: expected TORCH_INDEX, found none; name PyTorch's index for the CPU" >&2; exit 2; }; \
        export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; \
        sed -i '/^# CUDA libraries/,/^$/d' requirements.lock ;; \
      *) echo "VARIANT: expected cuda or cpu, found $VARIANT" >&2; exit 2 ;; \
    esac \
 && PIP_NO_CACHE_DIR=1 PIP_CERT=/etc/ssl/certs/ca-certificates.crt python tools/setup_env.py

COPY configs configs
COPY datasets datasets

ENV PATH=/gbw/.venv/bin:$PATH NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["python"]
CMD ["tools/doctor.py"]
