# One image for GPU and CPU: the torch of PyPI brings its CUDA libraries and needs nothing but the host's driver.
#
#   docker build -t fgsn .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/data" fgsn demo          without a GPU, leave --gpus out
#
# For a CPU image of a tenth of the size, let pip see PyTorch's CPU builds as well:
#   docker build -t fgsn:cpu --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's address of CPU wheels> .
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/fgsn
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt '.[all]'

# What it writes to /data belongs to whoever runs it: docker run --user "$(id -u):$(id -g)" ...
ENV HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["fgsn"]
CMD ["--help"]
