# docker build -t polypersona . && docker run --rm polypersona                 (the smoke run, CPU)
# docker run --rm -v "$PWD/out:/out" polypersona ./run_all.sh nano --out /out  (the full nano run, results kept)
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /companion
COPY requirements.lock ./
COPY scripts/ scripts/
# No GPU is visible while an image is built, so this takes PyTorch's CPU build, as run_all.sh would.
RUN python scripts/setup_env.py install
COPY . .
CMD ["./run_all.sh", "smoke"]
