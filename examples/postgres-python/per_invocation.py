"""The anti-pattern: every invocation waits for a connection of its own, and the server starts a
process for it."""

import os

import psycopg2


def handler(event, context):
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        with connection.cursor() as cursor:
            cursor.execute("select pg_backend_pid(), %s", (event.get("name", "world"),))
            backend, name = cursor.fetchone()
    finally:
        connection.close()
    return {"greeting": f"Hello, {name}!", "backend": backend}
