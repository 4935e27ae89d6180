# pcam for the CPU. Build: docker build -t pcam .
# Run: docker run --rm -v "$PWD":/work pcam run data/kaggle results
FROM python:3.12-slim
WORKDIR /opt/pcam
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pcam_features pcam_features
RUN pip install --no-cache-dir --constraint constraints.txt .
WORKDIR /work
ENTRYPOINT ["pcam"]
