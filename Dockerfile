# docker build -t polypersona .
# docker run --rm -p 127.0.0.1:8888:8888 polypersona                       (JupyterLab; the address with its token is printed. The probe: see README)
# docker run --rm polypersona ./run_all.sh smoke                           (the smoke run, CPU)
# docker run --rm -v "$PWD/out:/out" polypersona ./run_all.sh nano --out /out    (the full nano run, results kept; out/ must be writable for user 1000)
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /companion
COPY requirements.lock requirements-models.lock ./
COPY scripts/ scripts/
# No GPU is visible while an image is built, so this takes PyTorch's CPU build, as run_all.sh would. One layer: what is taken out again was never kept.
RUN python scripts/setup_env.py install && python scripts/setup_env.py models && python scripts/slim_env.py && useradd --create-home --uid 1000 reader && chown reader /companion
COPY --chown=reader . .
# Compiles what the notebooks import and nothing else; a user without rights to the packages could not keep it. Fails here if a package is missing.
RUN python -c "from polypersona_lib.models import loading; loading.import_libraries()" && chown -R reader polypersona_lib
USER reader
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--ServerApp.root_dir=/companion", \
     "--MappingKernelManager.cull_idle_timeout=3600", "--MappingKernelManager.cull_interval=60"]
