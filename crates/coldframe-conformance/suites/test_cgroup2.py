"""A host with version 2 control groups only: what this machine's kernel may not have, a guest's has.

The binary is the same, the machine is emulated. Functions are shell scripts.
"""

import platform
import re
import unittest

import support
from guest import Guest, GuestService
from support import together, wait_until

TOP = "/sys/fs/cgroup"
# Functions ask for more memory than the guest has, and use little of it.
OPTIONS = ["--ephemeral", "--memory", "100000"]

# A runtime in busybox's shell. The event is a JSON string and the code to run; no quotes in it.
BOOTSTRAP = r"""#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
cd /dev/shm
. /var/task/init
while :; do
    event=$(wget -q -S -O - $api/next 2>head)
    id=$(sed -n 's/.*Aws-Request-Id: *//Ip' head | tr -d '\r')
    event=${event#'"'}
    eval "${event%'"'}" >said 2>&1
    wget -q -O /dev/null --post-data "\"$(tr '\n\t"\\' '    ' <said)\"" $api/$id/response
done
"""


def setUpModule():
    global guest
    if platform.machine() != "x86_64":
        raise unittest.SkipTest("the guest's kernel is for x86_64")
    guest = unittest.enterModuleContext(Guest())


def deploy(client, name, init="", **config):
    files = {"bootstrap": (BOOTSTRAP, 0o755), "init": init}
    return support.deploy(client, name, files, Runtime="provided.al2023", **config)


def run(client, name, code):
    return support.invoke(client, name, code, tail=True)


def result_of(client, name, code):
    answer = run(client, name, code)
    assert answer.error is None, answer
    return answer.json.strip()


def groups():
    """Every control group of any coldframe."""
    return guest.run(f"find {TOP} -type d -name 'coldframe*'").split()


def processes_of(name):
    """The numbers of the processes inside that have that function's variables."""
    found = guest.run(f"grep -l AWS_LAMBDA_FUNCTION_NAME={name} /proc/[0-9]*/environ", check=False)
    return re.findall(r"/proc/(\d+)/environ", found)


def group_of(name):
    """The control group of the function's only environment, whose runtime runs."""
    def group():
        files = " ".join(f"/proc/{process}/cgroup" for process in processes_of(name))
        # Not all of them need be there any more.
        said = guest.run(f"cat {files}", check=False)
        return re.search(r"^0::(.*)/function$", said, re.MULTILINE)

    return TOP + wait_until(group, f"{name} runs")[1]


def number(path, name):
    """One of the numbers of a file that has a name and a number in each line."""
    return int(re.search(rf"^{name} (\d+)$", guest.read(path), re.MULTILINE)[1])


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(GuestService(guest, *OPTIONS))
        cls.client = cls.service.client()

    def test_frozen_between_invocations(self):
        name = deploy(self.client, "frozen", "while :; do :; done &")
        result_of(self.client, name, "echo 1")
        group = group_of(name)

        def used():
            return number(f"{group}/cpu.stat", "usage_usec")

        for turn in range(3):
            self.service.wait_for_states(name, "frozen")
            self.assertEqual(number(f"{group}/function/cgroup.events", "frozen"), 1)
            before = used()
            guest.run("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
            self.assertEqual(used(), before)
            answer = run(self.client, name, f"echo {turn}")
            self.assertEqual(answer.json.strip(), str(turn))
            self.assertNotIn("Init Duration", answer.report)
            self.assertGreater(used(), before)
        self.assertEqual(group_of(name), group)

    def test_out_of_memory(self):
        name = deploy(self.client, "exhausted", MemorySize=256)
        answer = run(self.client, name, "echo small")
        self.assertTrue(1 <= int(answer.report["Max Memory Used"].split()[0]) <= 64, answer)
        group = group_of(name)
        self.assertEqual(guest.read(f"{group}/memory.max"), str(256 << 20))
        answer = run(self.client, name, "exec dd if=/dev/zero of=/dev/null bs=600M count=1")
        self.assertEqual(answer.json, {
            "errorType": "Runtime.OutOfMemory",
            "errorMessage":
                f"RequestId: {answer.request_id} Error: Runtime exited with error: signal: killed",
        })
        report = answer.report
        self.assertEqual(report["Max Memory Used"], report["Memory Size"])
        self.assertEqual((report["Status"], report["Error Type"]), ("error", "Runtime.OutOfMemory"))
        self.assertGreater(number(f"{group}/memory.events", "oom_kill"), 0)
        # The sandbox stays, and a later exit is no consequence of it.
        self.assertEqual(result_of(self.client, name, "echo alive"), "alive")
        self.assertEqual(group_of(name), group)
        self.assertEqual(run(self.client, name, "exit 1").json["errorType"], "Runtime.ExitError")

    def test_fork_bomb(self):
        name = deploy(self.client, "forks")
        # Counts when no more can be had, and makes room again: an answer needs processes.
        count = """
            (while :; do sleep 1000 & done) 2>/dev/null;
            set -- /proc/[0-9]*; most=$#;
            while [ $# -gt 2 ]; do kill -9 -1 2>/dev/null; set -- /proc/[0-9]*; done;
            echo $most
        """
        most = int(result_of(self.client, name, " ".join(count.split())))
        self.assertTrue(1000 < most <= 1025, most)
        group = group_of(name)
        self.assertEqual(guest.read(f"{group}/pids.max"), "1025")
        self.assertGreater(number(f"{group}/pids.events", "max"), 0)
        name = deploy(self.client, "bomb", Timeout=2)
        answer = run(self.client, name, "bomb() { bomb | bomb & }; bomb; while :; do :; done")
        self.assertEqual(answer.json["errorType"], "Sandbox.Timedout")
        for name in ["forks", "bomb"]:
            self.assertEqual(result_of(self.client, name, "echo alive"), "alive")

    def test_share_of_the_processor(self):
        spin = "while [ ! -e /tmp/{0} ]; do :; done"
        name = deploy(self.client, "share", spin.format("go"), MemorySize=128)

        def used(seconds):
            """The share of a processor that the group gets, a busy loop."""
            times = guest.run(
                f"cd {group}; cat cpu.stat /proc/uptime; sleep {seconds}; cat cpu.stat /proc/uptime"
            )
            numbers = re.findall(r"usage_usec (\d+)|^(\d+\.\d+) ", times, re.MULTILINE)
            used, at, used_then, then = (float(one or other) for one, other in numbers)
            return (used_then - used) / 1e6 / (then - at)

        def limit():
            return guest.read(f"{group}/cpu.max").split()

        def touch(file):
            guest.run(f"touch /proc/{processes_of(name)[0]}/root/tmp/{file}")

        [caller] = together(lambda: run(self.client, name, spin.format("stop") + "; echo done"))
        group = group_of(name)
        # Init is without limit. Other load only takes away.
        self.assertEqual(limit()[0], "max")
        self.assertGreater(used(0.5), 0.33)
        touch("go")
        wait_until(lambda: limit()[0] != "max", limit)
        quota, period = map(int, limit())
        # 128 MB of 1,769 MB.
        self.assertAlmostEqual(quota / period, 0.072, 2)
        self.assertTrue(0.072 / 4 < used(1) < 0.072 * 3)
        touch("stop")
        self.assertEqual(caller.result().json.strip(), "done")
        # An init inside an invocation is one, too.
        guest.run(f"rm /proc/{processes_of(name)[0]}/root/tmp/go")
        failed = run(self.client, name, "exit 1")
        self.assertEqual(failed.json["errorType"], "Runtime.ExitError")
        [caller] = together(lambda: run(self.client, name, "echo again"))
        wait_until(lambda: processes_of(name) and limit()[0] == "max", limit)
        touch("go")
        self.assertEqual(caller.result().json.strip(), "again")
        self.assertEqual(limit(), [str(quota), str(period)])

    def test_full_tmp(self):
        # In init, which has the whole processor.
        fill = "dd if=/dev/zero of=/tmp/full bs=1M 2>full; rm /tmp/full"
        name = deploy(self.client, "full", fill, MemorySize=128)
        said = result_of(self.client, name, "cat full")
        self.assertIn("No space left on device", said)
        written = int(re.search(r"(\d+)\+0 records out", said)[1])
        self.assertTrue(0.95 * 512 <= written <= 1.02 * 512, said)


class Places(unittest.TestCase):
    """Where a service may be started, where its groups are then, and what it leaves there."""

    def check(self, service, place):
        shown = guest.run(f"({service.command('doctor')})", check=False)
        for line in [
            "environments are frozen by the kernel (cgroup v2 freezer), invisibly",
            "memory limit: enforced by cgroup v2",
            "CPU share: enforced by cgroup v2",
            "limit of processes: enforced by cgroup v2",
        ]:
            self.assertIn(f"✓ {line}\n", shown)
        self.assertEqual(groups(), [])
        self.serve(service, place)
        dead = f"/coldframe.{service.pid}."
        self.assertTrue([one for one in groups() if dead in one])
        service.kill()
        wait_until(lambda: not processes_of("placed"), "the function's processes end")
        if place != TOP:
            # Whoever keeps the groups of services makes one for each start.
            guest.run(f"find {place} -depth -type d -exec rmdir {{}} \\;")
            guest.make_group(place, user=service.user)
        self.serve(service, place)
        wait_until(lambda: not [one for one in groups() if dead in one], groups)
        service.stop()
        self.assertEqual(groups(), [])

    def serve(self, service, place):
        service.start()
        client = service.client()
        name = deploy(client, "placed", MemorySize=1769)
        self.assertEqual(result_of(client, name, "echo 1"), "1")
        group = group_of(name)
        self.assertRegex(group, rf"^{place}/coldframe\.{service.pid}\.\d+/\d+$")
        for file, value in [
            ("memory.max", str(1769 << 20)), ("pids.max", "1025"), ("cpu.max", "20000 20000"),
        ]:
            self.assertEqual(guest.read(f"{group}/{file}"), value)
        service.wait_for_states(name, "frozen")
        self.assertEqual(number(f"{group}/function/cgroup.events", "frozen"), 1)

    def untouched(self, group):
        self.assertEqual(guest.read(f"{group}/cgroup.subtree_control"), "")
        self.assertEqual(guest.run(f"find {group} -mindepth 1 -type d"), "")

    def test_at_the_top(self):
        self.check(GuestService(guest, *OPTIONS), TOP)

    def test_beside_a_shell(self):
        # As a login has it: others are in the group, and not every controller is.
        group = guest.make_group(f"{TOP}/user.slice/session.scope", "memory pids")
        guest.run(f"(echo 0 > {group}/cgroup.procs && exec sleep 100000) >/dev/null &")
        self.check(GuestService(guest, *OPTIONS, group=group), TOP)
        self.untouched(group)

    def test_alone_in_its_group(self):
        group = guest.make_group(f"{TOP}/system.slice/own.service")
        self.check(GuestService(guest, *OPTIONS, group=group), group)
        self.untouched(group)

    def test_an_ordinary_user_in_a_delegated_group(self):
        group = guest.make_group(f"{TOP}/user.slice/own.scope", user="user")
        self.check(GuestService(guest, *OPTIONS, group=group, user="user"), group)
        self.untouched(group)
