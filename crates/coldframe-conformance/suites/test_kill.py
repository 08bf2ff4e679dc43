"""`kill -9` of the service: what it has acknowledged is there, what it has held is not.

The next start of any coldframe of the same user clears up behind a dead one.
"""

import glob
import os
import random
import shutil
import tempfile
import threading
import unittest

from support import Gate, Service, create, deploy_lab, result_of, run, together, wait_until, zip_of


def setUpModule():
    global gate
    gate = Gate()


def tearDownModule():
    gate.close()


def read(path):
    """What a file of /proc or /sys says; nothing if its owner is gone."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


class Home:
    """Directories of one user of the service, apart from those of any other."""

    def __init__(self, test):
        self.root = tempfile.mkdtemp(prefix="coldframe-kill-")
        self.service = None
        # Loop devices and mounts carry no service's name; these were there with the dead one.
        self.of_dead = set()
        test.addCleanup(self.clean)
        self.data = os.path.join(self.root, "data")
        self.cache = os.path.join(self.root, "cache")

    def start(self, *options):
        own = Service(*options, data=self.data, variables={"XDG_CACHE_HOME": self.cache})
        self.service = own.start()
        return own

    def clean(self):
        if self.service and self.service.process.poll() is None:
            self.service.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def kernel_objects(self):
        """Loop devices and mounts on files below our cache, each with what tells it from later ones."""
        cache = self.cache.encode()
        backing = glob.glob("/sys/block/loop*/loop/backing_file")
        mounts = read("/proc/self/mountinfo").splitlines()
        return {one for one in [*map(read, backing), *mounts] if cache in one}

    def kill(self):
        self.of_dead = self.kernel_objects()
        self.service.kill()

    def left_of(self, pid):
        """Everything of the service with that pid, as `{kind: [what]}`."""
        name, cache = f"coldframe.{pid}.".encode(), self.cache.encode()
        processes = [
            directory
            for directory in glob.glob("/proc/[0-9]*")
            if name in read(f"{directory}/cgroup")
            # What has been forked and has not executed anything still has these variables.
            or (cache in read(f"{directory}/environ") and int(directory[6:]) not in self.living)
        ]
        return {
            "processes": processes,
            "control groups": [
                path
                for depth in range(1, 6)
                for path in glob.glob("/sys/fs/cgroup/" + "*/" * depth)
                if name.decode() in path
            ],
            "mounts and loop devices": self.kernel_objects() & self.of_dead,
            "directories": glob.glob(f"{self.cache}/coldframe/run/coldframe.{pid}.*"),
        }

    @property
    def living(self):
        """The service that is to run, and its children."""
        if not self.service or self.service.process.poll() is not None:
            return set()
        found, new = set(), {self.service.pid}
        children = {}
        for directory in glob.glob("/proc/[0-9]*"):
            stat = read(f"{directory}/stat").decode(errors="replace")
            if stat:
                children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), set()).add(int(directory[6:]))
        while new:
            found |= new
            new = set().union(*(children.get(pid, set()) for pid in new)) - found
        return found


class Kill(unittest.TestCase):
    def test_nothing_is_left(self):
        home = Home(self)
        first = home.start("--allow-host-port", str(gate.port))
        client = first.client()
        dead = first.pid
        for name in ("frozen", "running", "spinning", "bred"):
            deploy_lab(client, name)
        result_of(client, "frozen", "open('/tmp/big', 'wb').write(bytes(50 << 20))")
        # A family of its own, as frozen as the runtime.
        result_of(client, "bred", "[os.fork() or (os.setsid(), signal.pause()) for _ in range(20)]")
        callers = together(
            lambda: run(client, "running", "meet(event['port'], 'running')", port=gate.port),
            lambda: run(client, "spinning", "meet(event['port'], 'spinning')\nwhile True: pass", port=gate.port),
        )
        gate.wait_for("running")
        gate.wait_for("spinning")
        gate.open("spinning")
        first.wait_for_states("frozen", "frozen")
        held = home.left_of(dead)
        self.assertGreater(len(held["processes"]), 4)
        self.assertTrue(held["directories"])
        home.kill()
        for caller in callers:
            self.assertIsNotNone(caller.exception())
        # Processes need no help of a next one to end.
        wait_until(lambda: not home.left_of(dead)["processes"], lambda: home.left_of(dead))

        second = home.start()
        wait_until(lambda: not any(home.left_of(dead).values()), lambda: home.left_of(dead), 10)
        client = second.client()
        names = [one["FunctionName"] for one in client.list_functions()["Functions"]]
        self.assertEqual(sorted(names), ["bred", "frozen", "running", "spinning"])
        for name in names:
            # A new environment, so its /tmp is new.
            self.assertEqual(result_of(client, name, "result = os.listdir('/tmp')"), [])
        second.stop()
        self.assertFalse(any(home.left_of(second.pid).values()), home.left_of(second.pid))

    def test_nothing_is_left_after_an_ordinary_end(self):
        home = Home(self)
        own = home.start()
        client = own.client()
        deploy_lab(client, "one")
        run(client, "one", "if not os.fork(): os.setsid() or signal.pause()")
        own.stop()
        left = home.left_of(own.pid)
        self.assertFalse(any(left.values()), left)

    def test_the_data_directory_has_one_user(self):
        home = Home(self)
        home.start()
        with self.assertRaisesRegex(AssertionError, "another coldframe uses"):
            Service(data=home.data, variables={"XDG_CACHE_HOME": home.cache}).start()
        # The lock of a dead one holds nobody up, not even for a moment: what restarts a service doesn't wait.
        for _ in range(20):
            home.kill()
            home.start()
        home.service.stop()

    def test_acknowledged_is_kept(self):
        home = self.home = Home(self)
        seed = random.randrange(1 << 32)
        print(f"seed {seed}", end=" ", flush=True)
        chance = random.Random(seed)
        # Of each function the versions of its code that may be there: the last acknowledged one,
        # and those sent later without an answer.
        acknowledged = {}
        number = 0
        for turn in range(20):
            own = home.start()
            client = own.client()
            self.check_store(client, acknowledged)
            begun, stop = threading.Event(), threading.Event()

            def work():
                nonlocal number
                while not stop.is_set():
                    number += 1
                    package = zip_of({"app.py": f"def handler(event, context):\n    return {number}\n"})
                    updatable = [name for name, versions in acknowledged.items() if versions]
                    try:
                        if updatable and chance.random() < 0.5:
                            name = chance.choice(updatable)
                            acknowledged[name].append(number)
                            client.update_function_code(FunctionName=name, ZipFile=package)
                        else:
                            name = f"function-{number}"
                            acknowledged[name] = [None, number]
                            create(client, name, package)
                        acknowledged[name] = [number]
                    except client.exceptions.ResourceConflictException:
                        # The one before has not settled: refused, so not to be there.
                        acknowledged[name].remove(number)
                    except Exception:
                        return
                    begun.set()

            worker = threading.Thread(target=work)
            worker.start()
            begun.wait(30)
            # The moment is the point, so it is left to chance.
            stop.wait(chance.random() * 0.1)
            home.kill()
            stop.set()
            worker.join()
        own = home.start()
        self.check_store(own.client(), acknowledged, invoke_all=True)
        own.stop()
        self.assertGreater(len(acknowledged), 20)

    def check_store(self, client, acknowledged, invoke_all=False):
        there = {}
        for page in client.get_paginator("list_functions").paginate():
            there.update({one["FunctionName"]: one for one in page["Functions"]})
        for name, versions in list(acknowledged.items()):
            if name not in there:
                self.assertIn(None, versions, f"{name} was acknowledged and is gone")
                del acknowledged[name]
                continue
            versions[:] = [version for version in versions if version is not None]
        self.assertEqual(set(there) - set(acknowledged), set(), "what nobody has made")
        waiter = client.get_waiter("function_active_v2")
        for name, versions in acknowledged.items():
            if invoke_all:
                waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
                try:
                    payload = client.invoke(FunctionName=name)["Payload"].read()
                except client.exceptions.ServiceException as error:
                    self.fail(f"{name}: {error}; {self.home.service.stderr()}")
                self.assertIn(int(payload), versions, name)


if __name__ == "__main__":
    unittest.main()
