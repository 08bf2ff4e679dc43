"""The same binary as an ordinary user: fewer guarantees, the same life cycle."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import support

NOBODY = 65534

APP = """
import os, threading, time
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
def handler(event, context):
    if event == "exit":
        os._exit(3)
    if event == "hang":
        time.sleep(60)
    if event == "memory":
        bytearray(400 * 1024 * 1024)
    if event == "write":
        open("/tmp/kept", "w").write("x")
    return {
        "pid": os.getpid(), "uid": os.getuid(), "ticks": ticks, "tmp": os.listdir("/tmp"),
        "pids": [name for name in os.listdir("/proc") if name.isdigit()],
        "root": os.listdir("/"),
    }
"""


class Rootless(unittest.TestCase):
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.home)
        binary = shutil.copy(support.BINARY, cls.home)
        os.chmod(cls.home, 0o755)
        cls.own = pathlib.Path(cls.home) / "nobody"
        cls.own.mkdir()
        os.chown(cls.own, NOBODY, NOBODY)
        cls.binary = binary
        cls.variables = {"HOME": str(cls.own), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        ready = cls.cli("doctor")
        if "✓ sandboxes can be made" not in ready.stdout:
            raise unittest.SkipTest(f"this host gives an ordinary user no sandbox: {ready.stdout}")
        cls.runtime = next(
            (word for word in ready.stdout.split() if word.startswith("python3.")), None
        )

    @classmethod
    def cli(cls, *arguments):
        return subprocess.run(
            [cls.binary, *arguments],
            **cls.user, env=cls.variables, cwd=cls.home,
            capture_output=True, text=True, timeout=60, check=False,
        )

    def test_doctor_says_what_does_not_hold(self):
        shown = self.cli("doctor")
        self.assertEqual(shown.returncode, 1)
        for line in ("✗ runs as an ordinary user", "✗ /tmp is in memory"):
            self.assertIn(line, shown.stdout)

    def test_the_life_cycle_holds(self):
        variables = {**self.variables, "XDG_CACHE_HOME": "", "XDG_DATA_HOME": ""}
        with support.Service(
            variables=variables, binary=self.binary, process={**self.user, "cwd": self.home}
        ) as service:
            client = service.client()
            support.deploy(
                client, "user", {"app.py": APP}, Runtime=self.runtime, Handler="app.handler",
                Timeout=1, MemorySize=256,
            )

            def invoke(event):
                return support.invoke(client, "user", event)

            first, second = invoke("write").json, invoke(None).json
            self.assertEqual(first["pid"], second["pid"])
            self.assertEqual(first["uid"], 993)
            self.assertEqual(second["tmp"], ["kept"])
            # PID 1, and this one: nobody else is seen.
            self.assertEqual(len(first["pids"]), 2, first["pids"])
            self.assertNotIn("lost+found", first["root"])
            # Frozen by signals: the thread stands still however long nobody calls.
            support.wait_until(
                lambda: service.environments("user")[0]["state"] == "frozen", "frozen"
            )
            before = invoke(None).json["ticks"]
            support.wait_until(
                lambda: service.environments("user")[0]["state"] == "frozen", "frozen"
            )
            subprocess.run(["/bin/sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])
            self.assertLess(invoke(None).json["ticks"] - before, 200)
            died = invoke("exit").json
            self.assertEqual(died["errorType"], "Runtime.ExitError")
            self.assertIn("kept", invoke(None).json["tmp"])
            late = invoke("hang").json
            self.assertEqual(late["errorType"], "Sandbox.Timedout")
            full = invoke("memory").json
            self.assertEqual(full["errorType"], "MemoryError")
            self.assertIn("kept", invoke(None).json["tmp"])

