# The example service. For one of your own: the same, with `pip install kaufmann-celery` and your files.
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY kaufmann_celery kaufmann_celery
RUN pip install --no-cache-dir '.[compression,flower]'

RUN useradd --system --create-home service
USER service
WORKDIR /service
COPY examples/orders .

CMD ["kaufmann", "-A", "service", "ingester"]
