r"""Opens its connection to PostgreSQL once for each execution environment, and keeps it.

    pip install -r requirements.txt -t .
    coldframe run . --allow-host-port 5432 \
        --env DATABASE_URL=postgresql://postgres@127.0.0.1/postgres

`per_invocation.py` beside it is how not to do it.
"""

import os

import psycopg2

# What stands outside the handler runs in init. The connection outlives every freeze.
connection = psycopg2.connect(os.environ["DATABASE_URL"])


def handler(event, context):
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid(), %s", (event.get("name", "world"),))
        backend, name = cursor.fetchone()
    return {"greeting": f"Hello, {name}!", "backend": backend}
