"""The servers that functions and the service talk to, on free ports of loopback: PostgreSQL, moto's
S3, and what they prove who they are with.
"""

import datetime
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import boto3
import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import support


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def postgres_programs():
    """The newest version's directory."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        newest = max(found, key=lambda path: float(Path(path).parts[-3]))
        return Path(newest).parent
    found = shutil.which("initdb")
    assert found, "no initdb: install the package postgresql"
    return Path(os.path.realpath(found)).parent


class Postgres:
    """A PostgreSQL of its own, with nothing in it. A context manager."""

    def __enter__(self):
        programs = postgres_programs()
        # Where /tmp is closed to other users, its children are too: not below TMPDIR.
        self.directory = Path(tempfile.mkdtemp(prefix="coldframe-postgres-", dir="/tmp"))
        # It refuses to run as root.
        self.as_user = {}
        if os.geteuid() == 0:
            users = {user.pw_name: user for user in pwd.getpwall()}
            user = users.get("postgres") or users["nobody"]
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = self.directory / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            cwd=self.directory,
            check=True,
            capture_output=True,
            **self.as_user,
        )
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.log = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(self.port)]
            + ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
            + ["-c", "fsync=off", "-c", "max_connections=20"],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            **self.as_user,
        )
        self.connection = support.wait_until(self._connect, "PostgreSQL answers")
        return self

    def _connect(self):
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "log").read_text())
        try:
            connection = psycopg2.connect(self.url)
        except psycopg2.OperationalError:
            return None
        connection.autocommit = True
        return connection

    def query(self, text, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall()

    def backends(self):
        """Who is connected, this class apart: process id to state."""
        return dict(
            self.query(
                "select pid, state from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        )

    def __exit__(self, *_):
        self.connection.close()
        # Its fast shutdown: doesn't wait for clients, frozen ones above all.
        self.process.send_signal(signal.SIGINT)
        self.process.wait(support.DEADLINE_S)
        self.log.close()
        shutil.rmtree(self.directory)


class Authority:
    """Signs certificates of servers. Its own is the file `ca`."""

    def __init__(self, directory, name="ours"):
        self.directory = Path(directory)
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"coldframe {name}")])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self.directory / f"{name}-ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._write(self.ca, self._sign(self.name, self.key, (constraints, True)))

    def _sign(self, name, key, *extensions):
        now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, path, certificate):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host="localhost"):
        """Certificate and key for a server of this name: two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        files = self.directory / f"{host}.pem", self.directory / f"{host}.key"
        self._write(files[0], self._sign(name, key, (names, False)))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


class Moto:
    """An S3 server by moto, with TLS if it has an authority. A context manager."""

    def __init__(self, authority=None):
        self.authority = authority

    def __enter__(self):
        program = Path(sys.executable).parent / "moto_server"
        tls = []
        if self.authority:
            certificate, key = self.authority.issue()
            tls = ["--ssl", "--ssl-cert", certificate, "--ssl-key", key]
        self.process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", "0", *tls],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        said = b""
        for line in self.process.stderr:
            said += line
            found = re.search(rb"Running on (https?://127\.0\.0\.1:(\d+))", line)
            if found:
                break
        else:
            raise AssertionError(f"moto_server ended: {said.decode()}")
        self.url, self.port = found[1].decode(), int(found[2])
        if self.authority:
            self.url = f"https://localhost:{self.port}"
        # It writes a line for each request, more than the pipe may hold.
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()
        return self

    def client(self, service="s3"):
        return boto3.client(
            service,
            endpoint_url=self.url,
            verify=str(self.authority.ca) if self.authority else None,
            region_name=support.REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(support.DEADLINE_S)
        self.reader.join()
        self.process.stderr.close()
