"""Functions and packages that mean harm: the service, the host and the neighbours go on.

Every attack runs beside a neighbour that is invoked all the while and after it. What an attack does
to its own environment is its own matter, as long as the next reset ends it.
"""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import tempfile
import textwrap
import threading
import time
import unittest
import zipfile

from support import (
    Gate,
    Service,
    create,
    deploy,
    deploy_lab,
    deploy_script,
    invoke,
    result_of,
    run,
    together,
    wait_until,
    zip_of,
)

# A neighbour may become slow while all processors are busy, not more than this.
NEIGHBOUR_S = 10

# Of the service itself, whatever functions print and send. MiB.
SERVICE_MEMORY_MAX_MIB = 400

TIMED_OUT = "Sandbox.Timedout"
EXITED = "Runtime.ExitError"
OUT_OF_MEMORY = "Runtime.OutOfMemory"


def setUpModule():
    global gate, service, client, directory
    gate = Gate()
    directory = tempfile.mkdtemp(prefix="coldframe-hostile-")
    options = ("--memory", "200000", "--allow-host-port", str(gate.port))
    service = Service(*options, data=os.path.join(directory, "data")).start()
    client = service.client()
    deploy(client, "neighbour", {"app.py": "def handler(event, context):\n    return event\n"}, MemorySize=256)


def tearDownModule():
    gate.close()
    service.stop()
    shutil.rmtree(directory, ignore_errors=True)


def service_memory_mib():
    text = pathlib.Path(f"/proc/{service.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024


def ask_neighbour(number):
    began = time.monotonic()
    reply = client.invoke(FunctionName="neighbour", Payload=json.dumps(number))
    assert json.loads(reply["Payload"].read()) == number
    took = time.monotonic() - began
    assert took < NEIGHBOUR_S, f"the neighbour took {took:.1f} s"


class Hostile(unittest.TestCase):
    @contextlib.contextmanager
    def beside_a_neighbour(self):
        """Invokes the neighbour all the while; the service's memory stays bounded."""
        over = threading.Event()

        def watch():
            count, most = 0, 0
            while True:
                ended = over.is_set()
                ask_neighbour(count)
                count, most = count + 1, max(most, service_memory_mib())
                if ended:
                    return most
                # Some load is the point, not as much as there can be.
                over.wait(0.05)

        [watching] = together(watch)
        try:
            yield
        finally:
            over.set()
            most = watching.result()
        self.assertIsNone(service.process.poll())
        self.assertLess(most, SERVICE_MEMORY_MAX_MIB)

    def attack(self, code, *expected, again=True, init="", event=None, **config):
        """Runs the code as a function of its own; its answer's error type is one of the expected.

        Afterwards the function is invoked again: it must find its environment clean of processes.
        """
        name = deploy_lab(client, self.id().split(".")[-1][:64], init=init, **{"Timeout": 20, "MemorySize": 512, **config})
        with self.beside_a_neighbour():
            answer = run(client, name, code, **(event or {}))
            if again:
                count = "result = sorted(int(one) for one in os.listdir('/proc') if one.isdigit())"
                after = run(client, name, count)
                self.assertIsNone(after.error, after)
        kind = answer.json.get("errorType") if answer.error else None
        self.assertIn(kind, expected, answer)
        if again and kind in (TIMED_OUT, EXITED, OUT_OF_MEMORY):
            # PID 1 and the new runtime.
            self.assertEqual(len(after.json), 2, after)
        return answer


class Processes(Hostile):
    def test_fork_bomb(self):
        code = """
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
        """
        self.attack(code, TIMED_OUT, OUT_OF_MEMORY, EXITED, Timeout=3)

    def test_fork_bomb_in_init(self):
        init = """
            if not os.path.exists("/tmp/again"):
                open("/tmp/again", "w").close()
                while os.getpid() != 0:
                    try:
                        if os.fork() == 0:
                            os.setsid()
                    except OSError:
                        os._exit(1)
        """
        self.attack("", None, init=init, Timeout=10)

    def test_thread_bomb(self):
        code = """
            threading.stack_size(65536)
            def spin():
                while True:
                    pass
            while True:
                try:
                    threading.Thread(target=spin, daemon=True).start()
                except RuntimeError:
                    pass
        """
        self.attack(code, TIMED_OUT, Timeout=3)

    def test_five_hundred_spinning_processes_at_the_timeout(self):
        code = """
            for _ in range(500):
                if os.fork() == 0:
                    while True:
                        pass
            time.sleep(60)
        """
        self.attack(code, TIMED_OUT, Timeout=3)

    def test_memory_bomb_of_many(self):
        code = """
            for _ in range(20):
                if os.fork() == 0:
                    held = []
                    while True:
                        held.append(bytearray(1 << 20))
            while True:
                try:
                    os.wait()
                except ChildProcessError:
                    break
        """
        self.attack(code, None, OUT_OF_MEMORY, TIMED_OUT, MemorySize=256, Timeout=10)

    def test_memory_that_is_no_heap(self):
        # Shared memory, pipes and unlinked files count as well.
        code = """
            import mmap
            held = []
            for _ in range(4):
                shared = mmap.mmap(-1, 256 << 20)
                for offset in range(0, 256 << 20, 4096):
                    shared[offset] = 1
                held.append(shared)
        """
        self.attack(code, OUT_OF_MEMORY, MemorySize=256)

    def test_shared_memory_directory_is_small(self):
        code = """
            written = 0
            try:
                with open("/dev/shm/full", "wb", buffering=0) as file:
                    while written < 4 << 30:
                        written += file.write(bytes(1 << 20))
            except OSError as error:
                pass
            result = written >> 20
        """
        answer = self.attack(code, None, OUT_OF_MEMORY, MemorySize=256)
        if not answer.error:
            self.assertLess(answer.json, 256)

    def test_kill_everyone(self):
        code = """
            if os.fork() == 0:
                os.kill(-1, signal.SIGKILL)
                os._exit(0)
            time.sleep(60)
        """
        answer = self.attack(code, EXITED)
        self.assertIn("signal: killed", answer.json["errorMessage"])

    def test_kill_every_visible_pid(self):
        code = """
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV):
                for pid in [int(one) for one in os.listdir("/proc") if one.isdigit()] + list(range(1, 2000)):
                    if pid != os.getpid():
                        try:
                            os.kill(pid, number)
                        except OSError:
                            pass
            result = sorted(int(one) for one in os.listdir("/proc") if one.isdigit())
        """
        answer = self.attack(code, None)
        self.assertEqual(answer.json[0], 1)

    def test_own_process_group(self):
        self.attack("os.killpg(0, signal.SIGKILL)\ntime.sleep(60)", EXITED)

    def test_stopping_oneself(self):
        self.attack("os.kill(os.getpid(), signal.SIGSTOP)", TIMED_OUT, Timeout=2)

    def test_ignoring_every_signal(self):
        code = """
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            time.sleep(60)
        """
        self.attack(code, TIMED_OUT, Timeout=2)

    def test_daemons_end_with_a_reset(self):
        code = """
            for _ in range(20):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.closerange(0, 100)
                        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
                        while True:
                            time.sleep(1)
                    os._exit(0)
            os._exit(1)
        """
        self.attack(code, EXITED)

    def test_daemons_between_invocations(self):
        # They are part of the environment: frozen with it, there at the next invocation.
        name = deploy_lab(client, "daemons")
        breed = """
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True:
                        open("/tmp/beat", "a").write("x")
                        time.sleep(0.002)
                os._exit(0)
            os.wait()
        """
        result_of(client, name, breed)
        service.wait_for_states(name, "frozen")
        before = result_of(client, name, "result = os.path.getsize('/tmp/beat') if os.path.exists('/tmp/beat') else 0")
        service.wait_for_states(name, "frozen")
        grows = """
            size = lambda: os.path.getsize("/tmp/beat") if os.path.exists("/tmp/beat") else 0
            while size() <= event["before"]:
                time.sleep(0.001)
            result = True
        """
        self.assertTrue(result_of(client, name, grows, before=before))

    def test_exec_of_something_else(self):
        self.attack("os.execv('/bin/sleep', ['sleep', '60'])", TIMED_OUT, Timeout=2)

    def test_closing_the_standard_descriptors(self):
        self.attack("for number in (0, 1, 2): os.close(number)", None)

    def test_closing_every_descriptor(self):
        self.attack("os.closerange(0, 2000)", EXITED, TIMED_OUT, None, Timeout=3)

    def test_lowering_limits(self):
        code = """
            for name in dir(resource):
                if name.startswith("RLIMIT_"):
                    soft, hard = resource.getrlimit(getattr(resource, name))
                    try:
                        resource.setrlimit(getattr(resource, name), (hard, hard + 1))
                        result = name
                    except (ValueError, OSError):
                        pass
        """
        self.assertIsNone(self.attack(code, None).json)

    def test_priorities(self):
        code = """
            result = []
            for act in (
                lambda: os.nice(-5),
                lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
                lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
                lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"),
            ):
                try:
                    act()
                    result.append("done")
                except OSError as error:
                    result.append(errno.errorcode[error.errno])
        """
        for how in self.attack(code, None).json:
            self.assertIn(how, ("EPERM", "EACCES", "EROFS"))


class Kernel(Hostile):
    def refused(self, calls):
        """Makes the calls; each must fail as one that is not allowed, or not there, does."""
        code = """
            libc = ctypes.CDLL(None, use_errno=True)
            result = {}
            for name, (number, *arguments) in event["calls"].items():
                if number is None:
                    continue
                arguments = [one.encode() if isinstance(one, str) else ctypes.c_long(one) for one in arguments]
                ctypes.set_errno(0)
                if libc.syscall(ctypes.c_long(number), *arguments) == -1:
                    result[name] = errno.errorcode[ctypes.get_errno()]
                else:
                    result[name] = "done"
        """
        found = self.attack(code, None, event={"calls": calls}).json
        for name, how in found.items():
            with self.subTest(name):
                self.assertIn(how, ("EPERM", "ENOSYS", "EACCES"))

    def test_system_calls(self):
        # Numbers on x86-64 and on AArch64; those from 424 on are the same.
        machine = 0 if os.uname().machine == "x86_64" else 1
        user, mount_ns, pid, net = 0x10000000, 0x20000, 0x20000000, 0x40000000
        calls = {
            "ptrace-attach": ((101, 117), 16, 1, 0, 0),
            "ptrace-traceme": ((101, 117), 0, 0, 0, 0),
            "mount": ((165, 40), "none", "/tmp", "tmpfs", 0, 0),
            "mount-proc": ((165, 40), "proc", "/tmp", "proc", 0, 0),
            "remount": ((165, 40), "none", "/", "", 32, 0),
            "umount2": ((166, 39), "/tmp", 2),
            "pivot_root": ((155, 41), "/tmp", "/tmp"),
            "chroot": ((161, 51), "/tmp"),
            "unshare-user": ((272, 97), user),
            "unshare-mount": ((272, 97), mount_ns),
            "unshare-user-mount": ((272, 97), user | mount_ns),
            "unshare-pid": ((272, 97), pid),
            "unshare-net": ((272, 97), net),
            "clone-user": ((56, 220), user | 17, 0, 0, 0, 0),
            "clone-net": ((56, 220), net | 17, 0, 0, 0, 0),
            "clone3": ((435, 435), 0, 0),
            "setns": ((308, 268), 0, 0),
            "bpf": ((321, 280), 0, 0, 0),
            "keyctl": ((250, 219), 0, -3, 0),
            "add_key": ((248, 217), "user", "x", "y", 1, -3),
            "request_key": ((249, 218), "user", "x", 0, 0),
            "init_module": ((175, 105), 0, 0, ""),
            "finit_module": ((313, 273), 0, "", 0),
            "delete_module": ((176, 106), "x", 0),
            "kexec_load": ((246, 104), 0, 0, 0, 0),
            "reboot": ((169, 142), 0xFEE1DEAD, 672274793, 0x1234567, 0),
            "swapon": ((167, 224), "/tmp/x", 0),
            "swapoff": ((168, 225), "/tmp/x"),
            "acct": ((163, 89), "/tmp/x"),
            "sethostname": ((170, 161), "x", 1),
            "settimeofday": ((164, 170), 0, 0),
            "clock_settime": ((227, 112), 0, 0),
            "quotactl": ((179, 60), 0, "", 0, 0),
            "perf_event_open": ((298, 241), 0, 0, -1, -1, 0),
            "userfaultfd": ((323, 282), 0),
            "open_by_handle_at": ((304, 265), 0, 0, 0),
            "process_vm_readv": ((310, 270), 1, 0, 0, 0, 0, 0),
            "process_vm_writev": ((311, 271), 1, 0, 0, 0, 0, 0),
            "io_uring_setup": ((425, 425), 1, 0),
            "fsopen": ((430, 430), "tmpfs", 0),
            "open_tree": ((428, 428), -100, "/", 1),
            "move_mount": ((429, 429), -100, "/", -100, "/tmp", 0),
            "mount_setattr": ((442, 442), -100, "/", 0, 0, 0),
            "fanotify_init": ((300, 262), 0, 0),
            "lookup_dcookie": ((212, 18), 0, 0, 0),
            "iopl": ((172, None), 3),
            "ioperm": ((173, None), 0, 1, 1),
            "modify_ldt": ((154, None), 17, 0, 0),
            "vhangup": ((153, 58),),
            "kcmp": ((312, 272), 1, 1, 0, 0, 0),
            "move_pages": ((279, 239), 1, 0, 0, 0, 0, 0),
            "nfsservctl": ((180, 42), 0, 0, 0),
            "mknod-block": ((133, None), "/tmp/block", 0o60666, 0x800),
            "mknodat-block": ((259, 33), -100, "/tmp/block", 0o60666, 0x800),
            "mknodat-null": ((259, 33), -100, "/tmp/null", 0o20666, 0x103),
            "pidfd_getfd": ((438, 438), 0, 0, 0),
        }
        self.refused({name: (numbers[machine], *rest) for name, (numbers, *rest) in calls.items()})

    def test_calls_of_another_architecture(self):
        # 32-bit entry and x32 numbers would go past a filter that looks at numbers only.
        if os.uname().machine != "x86_64":
            return
        self.refused({"x32-getpid": (0x40000000 + 39,), "x32-ptrace": (0x40000000 + 521, 0, 0, 0, 0)})

    def test_raising_rights(self):
        code = """
            result = []
            for act in (
                lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0),
                lambda: os.setresuid(1000, 1000, 1000), lambda: os.setgroups([0]),
                lambda: os.chown("/tmp", 0, 0), lambda: os.chmod("/tmp", 0o700),
                lambda: socket.create_server(("127.0.0.1", 80)).close(),
            ):
                try:
                    act()
                    result.append("done")
                except OSError as error:
                    result.append(errno.errorcode[error.errno])
        """
        self.assertLessEqual(set(self.attack(code, None).json), {"EPERM", "EACCES", "EINVAL"})

    def test_no_set_user_id(self):
        code = """
            result = {path: os.statvfs(path).f_flag for path in
                      ("/", "/usr", "/tmp", "/var/task", "/var/runtime", "/dev/shm", "/proc") if os.path.exists(path)}
            result["status"] = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines()
                                    if line.startswith(("NoNewPrivs", "Seccomp:")))
        """
        found = self.attack(code, None).json
        self.assertEqual(found.pop("status"), {"NoNewPrivs": "1", "Seccomp": "2"})
        for path, flags in found.items():
            self.assertTrue(flags & os.ST_NOSUID, path)

    def test_families_of_sockets(self):
        code = """
            families = {"packet": (17, 3, 0x300), "packet-datagram": (17, 2, 0x300), "raw-icmp": (2, 3, 1),
                        "raw": (2, 3, 255), "raw6": (10, 3, 58), "vsock": (40, 1, 0), "alg": (38, 5, 0),
                        "key": (15, 3, 2), "bluetooth": (31, 3, 1), "can": (29, 3, 1), "tipc": (30, 1, 0),
                        "xdp": (44, 3, 0), "netlink-audit": (16, 3, 9), "netlink-netfilter": (16, 3, 12),
                        "netlink-generic": (16, 3, 16), "netlink-uevent": (16, 3, 15), "rds": (21, 5, 0),
                        "kcm": (41, 5, 0), "qipcrtr": (42, 2, 0), "smc": (43, 1, 0)}
            libc = ctypes.CDLL(None, use_errno=True)
            result = {name: libc.socket(*each) for name, each in families.items()}
        """
        for name, number in self.attack(code, None).json.items():
            self.assertEqual(number, -1, name)

    def test_devices(self):
        code = """
            import stat
            result = {"devices": {}, "opened": []}
            for root, directories, files in os.walk("/dev"):
                for file in directories + files:
                    path = os.path.join(root, file)
                    mode = os.lstat(path).st_mode
                    result["devices"][path] = "b" if stat.S_ISBLK(mode) else "c" if stat.S_ISCHR(mode) else "-"
            for path in ("/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/kvm",
                         "/dev/loop-control", "/dev/fuse", "/dev/net/tun", "/dev/vhost-vsock", "/dev/vsock", "/dev/tty",
                         "/dev/console", "/dev/ptmx", "/proc/kcore", "/proc/kmsg", "/proc/sysrq-trigger", "/proc/kallsyms",
                         "/sys/kernel/debug", "/sys/fs/cgroup", "/proc/sys/kernel/core_pattern", "/proc/1/mem"):
                try:
                    os.close(os.open(path, os.O_RDWR))
                    result["opened"].append(path)
                except OSError:
                    pass
        """
        found = self.attack(code, None).json
        self.assertEqual(found["opened"], [])
        self.assertNotIn("b", found["devices"].values(), found)

    def test_processes_of_others(self):
        code = """
            result = {"pids": sorted(int(one) for one in os.listdir("/proc") if one.isdigit()), "read": []}
            for pid in [1, os.getppid()]:
                for file in ("environ", "mem", "maps", "smaps", "auxv", "stack", "syscall", "io", "pagemap", "personality",
                             "timers", "map_files", "fdinfo", "fd"):
                    try:
                        path = f"/proc/{pid}/{file}"
                        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
                        if not (file == "fdinfo" or pid == os.getpid()):
                            result["read"].append(path)
                    except OSError:
                        pass
                for link in ("root", "cwd", "exe", "ns/mnt", "ns/net", "ns/user"):
                    try:
                        os.readlink(f"/proc/{pid}/{link}")
                        result["read"].append(f"/proc/{pid}/{link}")
                    except OSError:
                        pass
        """
        found = self.attack(code, None).json
        self.assertEqual(found["read"], [])
        self.assertEqual((found["pids"][0], len(found["pids"])), (1, 2))

    def test_what_proc_tells_of_the_host(self):
        # `mountinfo` is left out: a bind mount tells the path it was made from, to everybody.
        code = """
            result = {path: open(path).read() for path in
                      ("/proc/self/cgroup", "/proc/self/environ", "/proc/self/maps", "/etc/hosts", "/etc/hostname",
                       "/etc/passwd", "/etc/group", "/proc/1/cmdline", "/proc/1/comm", "/proc/net/tcp", "/proc/net/unix",
                       "/proc/locks", "/proc/cmdline", "/proc/keys")
                      if os.access(path, os.R_OK)}
        """
        for path, text in self.attack(code, None).json.items():
            for secret in (directory, os.path.expanduser("~"), f":{service.port:04X} "):
                self.assertNotIn(secret, text.replace("/root:/sbin", ""), path)


class Files(Hostile):
    def test_files_of_the_host(self):
        secret = "coldframe-hostile-secret"
        places = [tempfile.mkdtemp(dir=place) for place in (os.path.expanduser("~"), tempfile.gettempdir(), "/dev/shm")]
        for place in places:
            self.addCleanup(shutil.rmtree, place, ignore_errors=True)
            os.chmod(place, 0o755)
            pathlib.Path(place, "file").write_text(secret)
            os.chmod(os.path.join(place, "file"), 0o644)
        code = """
            result = []
            for place in event["places"]:
                for path in (place, place + "/file", place + "/store.sqlite", "/proc/1/root" + place, "/proc/1/cwd" + place):
                    try:
                        os.stat(path)
                        result.append(path)
                    except OSError:
                        pass
            for root in ("/root", "/home", "/tmp", "/mnt", "/srv", "/var/lib", "/run"):
                for found, _, files in os.walk(root):
                    for file in files:
                        try:
                            if event["secret"] in open(os.path.join(found, file), errors="replace").read(1000):
                                result.append(os.path.join(found, file))
                        except OSError:
                            pass
        """
        data = os.path.join(directory, "data")
        event = {"places": [*places, directory, data, os.path.join(data, "packages")], "secret": secret}
        self.assertEqual(self.attack(code, None, event=event).json, [])

    def test_files_of_other_environments(self):
        name = deploy_lab(client, "files-of-others")
        for path in ("/tmp", "/dev/shm"):
            result_of(client, name, f"open('{path}/mine', 'w').write('secret')")
        result_of(client, name, "libc = ctypes.CDLL(None)\nresult = libc.shmget(4711, 4096, 0o1666)")
        code = """
            libc = ctypes.CDLL(None)
            result = [os.listdir("/tmp"), os.listdir("/dev/shm"), libc.shmget(4711, 4096, 0o666)]
        """
        self.assertEqual(self.attack(code, None).json, [[], [], -1])

    def test_links_in_tmp(self):
        code = """
            result = {}
            def attempt(name, act):
                try:
                    result[name] = act()
                except OSError as error:
                    result[name] = errno.errorcode[error.errno]
            os.symlink("/", "/tmp/root")
            os.symlink("/etc/shadow", "/tmp/shadow")
            os.symlink("/proc/1/root", "/tmp/init")
            attempt("passwd", lambda: "sbx_user1051" in open("/tmp/root/etc/passwd").read())
            attempt("shadow", lambda: open("/tmp/shadow").read() != "")
            attempt("init", lambda: os.listdir("/tmp/init/"))
            attempt("hard", lambda: os.link("/etc/passwd", "/tmp/hard"))
            attempt("task", lambda: os.link("/var/task/app.py", "/tmp/task"))
            attempt("write", lambda: open("/tmp/root/etc/x", "w"))
            os.mkdir("/tmp/loop")
            os.symlink("/tmp/loop", "/tmp/loop/loop")
        """
        found = self.attack(code, None).json
        self.assertEqual(found.pop("passwd"), True)
        for name, how in found.items():
            self.assertIn(how, ("EACCES", "EPERM", "ENOENT", "EXDEV", "EROFS"), name)
        # What lies there is no concern of the end of an environment.
        client.delete_function(FunctionName="test_links_in_tmp")
        wait_until(lambda: not service.environments("test_links_in_tmp"), "the environment ends")
        self.assertTrue(os.path.exists("/etc/passwd"))

    def test_full_of_small_files(self):
        code = """
            count = 0
            try:
                while count < 2000000:
                    open(f"/tmp/{count}", "w").close()
                    count += 1
                result = "never"
            except OSError as error:
                result = errno.errorcode[error.errno]
        """
        self.assertEqual(self.attack(code, None, MemorySize=1769, Timeout=60).json, "ENOSPC")

    def test_full_of_everything_else(self):
        code = """
            held = []
            for make in (lambda: os.pipe(), lambda: socket.socketpair(), lambda: os.memfd_create("x"),
                         lambda: os.eventfd(0) if hasattr(os, "eventfd") else os.dup(0)):
                try:
                    while True:
                        held.append(make())
                except OSError:
                    pass
            result = len(held)
            os.closerange(max(10, 100), 1024)
            os.kill(os.getpid(), signal.SIGKILL)
        """
        self.attack(code, EXITED)


class Network(Hostile):
    def test_connections_without_end(self):
        code = """
            def open_all(address):
                held = []
                try:
                    while True:
                        own = socket.socket()
                        own.setblocking(False)
                        held.append(own)
                        own.connect_ex(address)
                except OSError:
                    return held
            server = socket.create_server(("127.0.0.1", 5000), backlog=5)
            for address in (("127.0.0.1", 9001), ("127.0.0.1", 5000)):
                for _ in range(4):
                    if os.fork() == 0:
                        held = open_all(address)
                        time.sleep(60)
            time.sleep(1)
            os._exit(1)
        """
        self.attack(code, EXITED)

    def test_services_of_the_host(self):
        # Listeners that nobody allowed, on the host's loopback and on all of its addresses, and the
        # service's own API.
        addresses = set()
        with contextlib.suppress(socket.gaierror):
            # A host need not know its own name.
            found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
            addresses.update(address[4][0] for address in found)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward, contextlib.suppress(OSError):
            # Nothing is sent: it only picks the address that would send.
            outward.connect(("192.0.2.1", 9))
            addresses.add(outward.getsockname()[0])
        with socket.create_server(("127.0.0.1", 0)) as own, socket.create_server(("0.0.0.0", 0)) as every:
            code = """
                hosts = {"127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", *event["addresses"]}
                for line in open("/proc/net/route").read().splitlines()[1:]:
                    hosts.add(socket.inet_ntoa(bytes.fromhex(line.split()[2])[::-1]))
                result = []
                for host in hosts:
                    for port in event["ports"]:
                        try:
                            socket.create_connection((host, port), 0.5).close()
                            result.append([host, port])
                        except OSError:
                            pass
            """
            ports = [own.getsockname()[1], every.getsockname()[1], service.port]
            event = {"ports": ports, "addresses": sorted(addresses)}
            self.assertEqual(self.attack(code, None, event=event).json, [])
            for listener in (own, every):
                listener.settimeout(0)
                with self.assertRaises(BlockingIOError):
                    listener.accept()

    def test_an_allowed_port(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            def echo():
                for _ in range(2):
                    peer, _ = listener.accept()
                    with peer:
                        received = b""
                        while piece := peer.recv(1 << 16):
                            received += piece
                        peer.sendall(received[::-1])

            [echoing] = together(echo)
            with Service("--allow-host-port", str(port)) as own:
                other = own.client()
                deploy_lab(other, "reach")
                code = """
                    sent = os.urandom(1 << 20)
                    with socket.create_connection(("127.0.0.1", event["port"])) as own:
                        own.sendall(sent)
                        own.shutdown(socket.SHUT_WR)
                        got = b""
                        while piece := own.recv(1 << 16):
                            got += piece
                    result = got == sent[::-1]
                """
                for _ in range(2):
                    self.assertEqual(result_of(other, "reach", code, port=port), True)
                echoing.result()
                listener.close()
                # Nobody listens: as with any port, not a connection that hangs.
                code = """
                    try:
                        with socket.create_connection(("127.0.0.1", event["port"]), 5) as own:
                            result = own.recv(1) == b""
                    except ConnectionError:
                        result = True
                """
                self.assertEqual(result_of(other, "reach", code, port=port), True)

    def test_from_environment_to_environment(self):
        addresses = """
            found = {"127.0.0.1"}
            for _, name in socket.if_nameindex():
                import fcntl
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
                    try:
                        reply = fcntl.ioctl(any, 0x8915, struct.pack("256s", name.encode()))
                        found.add(socket.inet_ntoa(reply[20:24]))
                    except OSError:
                        pass
        """
        deploy_lab(client, "listening", init="import struct")
        listen = textwrap.dedent(addresses) + textwrap.dedent("""
            server = socket.create_server(("0.0.0.0", 7777))
            server.settimeout(0)
            local = socket.socket(socket.AF_UNIX)
            local.bind("\\0coldframe-hostile")
            local.listen()
            meet(event["port"], "listening " + " ".join(sorted(found)))
            try:
                server.accept()
                result = "reached"
            except BlockingIOError:
                result = "alone"
        """)
        [listening] = together(lambda: result_of(client, "listening", listen, port=gate.port))
        came = lambda: [name for name in list(gate.waiting) if name.startswith("listening ") and gate.waiting[name]]
        [name] = wait_until(came, "the listening environment is at the gate")
        code = """
            result = []
            for host in event["hosts"]:
                for port in (7777, 9001):
                    # Its own Runtime API is the only one it has.
                    if (host, port) != ("127.0.0.1", 9001):
                        try:
                            socket.create_connection((host, port), 0.5).close()
                            result.append([host, port])
                        except OSError:
                            pass
            try:
                with socket.socket(socket.AF_UNIX) as local:
                    local.connect("\\0coldframe-hostile")
                result.append("abstract")
            except OSError:
                pass
        """
        reached = self.attack(code, None, event={"hosts": name.split()[1:]}).json
        gate.open(name)
        self.assertEqual(reached, [])
        self.assertEqual(listening.result(), "alone")


class RuntimeApi(Hostile):
    def nonsense(self, code, expected=(None,), **config):
        name = deploy_script(
            client, self.id().split(".")[-1][:64], **{"Timeout": 20, "MemorySize": 512, **config}
        )
        with self.beside_a_neighbour():
            answer = run(client, name, code)
            kind = answer.json.get("errorType") if answer.error else None
            self.assertIn(kind, expected, answer)
            self.assertEqual(result_of(client, name, "result = 1"), 1)
        return answer

    def test_garbage(self):
        self.nonsense("""
            for size in (1, 10, 1000, 100000, 3000000):
                own = Connection(5)
                try:
                    own.send(os.urandom(size))
                    own.socket.shutdown(socket.SHUT_WR)
                    while own.socket.recv(1 << 16):
                        pass
                except OSError:
                    pass
                own.close()
            for line in ("GET", "GET /", "GET / HTTP/9.9", "\\r\\n" * 1000, "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n",
                         "GET / HTTP/1.1\\r\\n: x\\r\\n\\r\\n", "GET / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: -1\\r\\n\\r\\n",
                         "POST / HTTP/1.1\\r\\nContent-Length: 99999999999999999999\\r\\n\\r\\n",
                         "POST / HTTP/1.1\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
                         "GET /\\0 HTTP/1.1\\r\\n\\r\\n", "\\x16\\x03\\x01\\x02\\x00\\x01"):
                own = Connection(5)
                try:
                    own.send(line)
                    own.socket.shutdown(socket.SHUT_WR)
                    while own.socket.recv(1 << 16):
                        pass
                except OSError:
                    pass
                own.close()
        """)

    def test_large_heads(self):
        answer = self.nonsense("""
            def attempt(head):
                own = Connection(10)
                try:
                    own.send(head)
                    return own.reply().status
                except (OSError, EOFError):
                    return None
                finally:
                    own.close()
            ping = "GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n"
            result = [
                attempt(ping + "X: " + "x" * 2000000 + "\\r\\n\\r\\n"),
                attempt(ping + "".join(f"X-{number}: x\\r\\n" for number in range(100000)) + "\\r\\n"),
                attempt("GET /" + "x" * 2000000 + " HTTP/1.1\\r\\n\\r\\n"),
                attempt("x" * 20000000),
            ]
        """)
        # What is too large may be refused or taken, as long as nothing grows by it.
        for status in answer.json:
            self.assertIn(status, (None, 200, 400, 404, 414, 431), answer)

    def test_endless_bodies(self):
        # To the invocation itself, to another id, to `init/error`, and to no route at all.
        self.nonsense("""
            for path in (API + "/invocation/x/response", API + "/init/error", "/nowhere", f"{API}/invocation/{identity}/response"):
                own = Connection(5)
                own.send(f"POST {path} HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
                piece = b"100000\\r\\n" + b"x" * 0x100000 + b"\\r\\n"
                try:
                    for _ in range(200):
                        own.send(piece)
                except OSError:
                    pass
                own.close()
            raise Answered
        """, expected=("Function.ResponseSizeTooLarge", "Runtime.TruncatedResponse"))

    def test_slow_and_half_open(self):
        name = deploy_script(client, "slow", Timeout=20)
        with self.beside_a_neighbour():
            code = """
                STATE["held"] = []
                for text in ("", "G", "GET /2018-06-01/ping HTTP/1.1\\r\\n", "GET /2018-06-01/ping HTTP/1.1\\r\\nHost",
                             f"POST {API}/init/error HTTP/1.1\\r\\nContent-Length: 100\\r\\n\\r\\nx"):
                    own = Connection(5)
                    own.send(text)
                    STATE["held"].append(own)
                    half = Connection(5)
                    half.send(text)
                    half.socket.shutdown(socket.SHUT_WR)
                    STATE["held"].append(half)
            """
            for _ in range(3):
                result_of(client, name, code)
            self.assertEqual(result_of(client, name, "result = call('GET', '/2018-06-01/ping').text"), "pong")

    def test_replies_that_nobody_reads(self):
        self.nonsense("""
            own = Connection(5)
            own.socket.setblocking(False)
            try:
                for _ in range(200000):
                    own.socket.send(b"GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            except BlockingIOError:
                pass
            STATE["own"] = own
        """)

    def test_paths_and_methods(self):
        self.nonsense("""
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "x"):
                for path in ("../..", "../../../../etc/passwd", "%2e%2e/%2e%2e", "..%2f..", "x" * 5000, "%", "%zz", "%00", "'<>",
                             "\\xff\\xfe"):
                    for what in ("response", "error", "..", ""):
                        own = Connection(5).request(method, f"{API}/invocation/{path}/{what}")
                        try:
                            while b"\\r\\n" not in own.read:
                                own.more()
                            assert own.read.split()[1].startswith(b"4"), (method, path, what, own.read)
                        except (EOFError, ConnectionError):
                            pass
                        own.close()
        """)

    def test_nested_json(self):
        # A caller's or a runtime's JSON is never worth a crash.
        deep = "[" * 10_000 + "]" * 10_000
        name = deploy_script(client, "nested")
        with self.beside_a_neighbour():
            answer = run(client, name, f"post(identity, 'response', '[' * 10000 + ']' * 10000)\nraise Answered")
            self.assertEqual((answer.error, answer.payload.decode()), (None, deep))
            body = "post(identity, 'error', '[' * 1000000, {'Content-Type': given['kind']})\nraise Answered"
            for kind in ("application/json", "application/vnd.aws.lambda.error.cause+json"):
                self.assertEqual(run(client, name, body, kind=kind).error, "Unhandled")
            for payload in (deep, "[" * 3_000_000, '{"a":' * 1_000_000):
                status, _, _ = service.invoke_plain("neighbour", payload.encode())
                self.assertIn(status, (200, 400))
            status, _, _ = service.request("POST", "/2015-03-31/functions", ("[" * 1_000_000).encode())
            self.assertEqual(status, 400)


class Output(Hostile):
    def test_a_gigabyte_of_lines(self):
        code = """
            lines = (b"x" * 127 + b"\\n") * 8192
            for _ in range(1024):
                view = memoryview(lines)
                while view:
                    view = view[os.write(1, view):]
        """
        self.attack(code, None, MemorySize=1769, Timeout=120)

    def test_a_line_without_end(self):
        code = """
            piece = b"x" * (1 << 20)
            for _ in range(100):
                view = memoryview(piece)
                while view:
                    view = view[os.write(2, view):]
        """
        self.attack(code, None, MemorySize=1769, Timeout=60)

    def test_many_empty_lines_and_bytes(self):
        self.attack("os.write(1, b'\\n' * 1000)\nfor _ in range(3000): os.write(1, os.urandom(1000))", None)

    def test_lines_that_look_like_the_platforms(self):
        name = deploy_lab(client, "forged")
        forged = "REPORT RequestId: forged\\tDuration: 0.00 ms\\tBilled Duration: 0 ms\\tMemory Size: 1 MB\\tMax Memory Used: 1 MB\\t"
        answer = run(client, name, f"print('{forged}')", tail=True)
        self.assertIn(answer.request_id, answer.tail.splitlines()[-1])

    def test_a_grown_child_holds_the_output(self):
        # The end of the runtime is the end, though others hold its pipe.
        code = """
            if os.fork() == 0:
                os.setsid()
                while True:
                    time.sleep(1)
            os._exit(4)
        """
        self.attack(code, EXITED)


class Packages(Hostile):
    def check(self, package, code, message=None, status=400):
        """The package is refused, no function is there, and nothing has been written anywhere."""
        outside = lambda: sorted(path for path in os.listdir(directory))
        before = outside()
        # One that is taken by mistake is not to be in the way of the next.
        name = f"hostile-{hashlib.sha256(package).hexdigest()[:16]}"
        with self.beside_a_neighbour():
            with self.assertRaises(client.exceptions.ClientError) as raised:
                create(client, name, package)
        reply = raised.exception.response
        self.assertEqual((reply["Error"]["Code"], reply["ResponseMetadata"]["HTTPStatusCode"]), (code, status), reply)
        if message:
            self.assertEqual(reply["Error"]["Message"], message)
        with self.assertRaises(client.exceptions.ResourceNotFoundException):
            client.get_function(FunctionName=name)
        self.assertEqual(outside(), before)
        packages = os.path.join(directory, "data", "packages")
        self.assertEqual([name for name in os.listdir(packages) if name.startswith("new-")], [])

    INVALID = "InvalidParameterValueException"
    NO_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."

    def test_no_zip(self):
        good = zip_of({"app.py": "x" * 1000})
        for package in (b"not a zip at all", good[:-30], good[: len(good) // 2], b"PK\x03\x04", b"\x1f\x8b" + bytes(100)):
            with self.subTest(package[:20]):
                self.check(package, self.INVALID, self.NO_ZIP)

    def test_wrong_checksum(self):
        good = bytearray(zip_of({"app.py": os.urandom(10_000)}))
        good[500] ^= 0xFF
        self.check(bytes(good), self.INVALID, self.NO_ZIP)

    def test_empty_zip(self):
        self.check(zip_of({}), self.INVALID, "Uploaded file must be a non-empty zip")

    def test_paths_out_of_the_tree(self):
        for path in ("../escaped", "a/../../escaped", "/escaped", "a/../../../../../../tmp/escaped", "..", "./../escaped"):
            with self.subTest(path):
                self.check(zip_of({"app.py": "", path: "x"}), self.INVALID)
        self.assertFalse(os.path.exists("/escaped") or os.path.exists("/tmp/escaped"))

    def test_links_out_of_the_tree(self):
        link = lambda target: (target, 0o120777)
        for target in ("../../../etc", "/etc/passwd", "/", "..", "a/../../..", "/usr/../etc/passwd", ""):
            with self.subTest(target):
                self.check(zip_of({"app.py": "", "link": link(target)}), self.INVALID)
        for files in (
            {"link": link("/tmp"), "link/escaped": "x"},
            {"link": link("."), "link/link": link("../.."), "app.py": ""},
            {"app.py": "", "a/b": link(".."), "a/b/c": link("..")},
            {"app.py": "", "a/b": link(".."), "a/b/c": link("../.."), "a/b/c/escaped": link("/usr")},
        ):
            with self.subTest(files):
                self.check(zip_of(files), self.INVALID)
        packages = os.path.join(directory, "data", "packages")
        self.assertFalse(os.path.exists("/tmp/escaped") or os.path.lexists(f"{packages}/escaped"))

    def test_links_behind_links(self):
        # Each by itself stays in the tree. One behind another would be made far outside, in the place of
        # a file that is there.
        victim = pathlib.Path(directory, "victim")
        link = lambda target: (target, 0o120777)
        below, up = "a/a/a/a/link", "../../../.."
        for files in (
            {"app.py": "", below: link(up), f"{below}/up": link(up), f"{below}/up/victim": link("/usr")},
            {"app.py": "", f"{below}/up/victim": link("/usr"), f"{below}/up": link(up), below: link(up)},
            {"app.py": "", below: link(up), f"{below}/up": link(up), f"{below}/up/victim": "overwritten"},
            {"app.py": "", below: link(up), f"{below}/up": link(up), f"{below}/up/made/": ("", 0o040755)},
        ):
            with self.subTest(list(files)):
                victim.unlink(missing_ok=True)
                victim.write_text("precious")
                try:
                    self.check(zip_of(files), self.INVALID)
                finally:
                    self.assertFalse(victim.is_symlink())
                    self.assertEqual(victim.read_text(), "precious")

    def test_links_inside_are_kept(self):
        files = {"lib/real.py": "value = 7\n", "other.py": ("lib/real.py", 0o120777),
                 "app.py": "import other\ndef handler(event, context):\n    return other.value\n"}
        deploy(client, "links-inside", files)
        self.assertEqual(invoke(client, "links-inside").json, 7)

    def test_what_is_neither_file_nor_link(self):
        for mode in (0o010666, 0o020666, 0o060666, 0o140777):
            with self.subTest(oct(mode)):
                self.check(zip_of({"app.py": "", "node": ("", mode)}), self.INVALID)

    def test_set_user_id_bits_are_dropped(self):
        name = deploy_lab(client, "set-user-id")
        code = {"app.py": "import os\ndef handler(event, context):\n    return oct(os.stat('/var/task/tool').st_mode)\n",
                "tool": ("#!/bin/sh\n", 0o100000 | 0o6755)}
        client.update_function_code(FunctionName=name, ZipFile=zip_of(code))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
        self.assertEqual(invoke(client, name).json, oct(0o100755))

    def test_odd_modes(self):
        # Neither a file nor a directory without rights stops deletion or the next deployment.
        name = "odd-modes"
        for _ in range(2):
            files = {"app.py": "def handler(event, context):\n    return 1\n", "none": ("x", 0o100000),
                     "directory/": ("", 0o040000), "directory/file": "x"}
            deploy(client, name, files)
            self.assertEqual(invoke(client, name).json, 1)
            client.delete_function(FunctionName=name)

    def test_bombs(self):
        too_large = "Unzipped size must be smaller than 262144000 bytes"
        self.check(zip_of({"zeros": bytes(262_144_001)}), self.INVALID, too_large)
        # Many that are small by themselves.
        self.check(zip_of({f"zeros-{number}": bytes(30 << 20) for number in range(9)}), self.INVALID, too_large)

    def test_a_size_that_lies(self):
        # The directory says that the file is small; what comes out of the stream is what counts.
        package = bytearray(zip_of({"zeros": bytes(270_000_000)}))
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = package.find(signature) + offset
            package[at : at + 4] = struct.pack("<I", 100)
        self.check(bytes(package), self.INVALID)

    def test_entries_that_share_their_bytes(self):
        # Each entry of the directory names the same stream: small to send, large to unpack.
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("file", bytes(20 << 20))
            [only] = archive.filelist
            for number in range(20):
                copy = zipfile.ZipInfo(f"copy{number}")
                for key in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                    setattr(copy, key, getattr(only, key))
                archive.filelist.append(copy)
        self.check(buffer.getvalue(), self.INVALID)

    def test_too_large_to_send(self):
        package = zip_of({"noise": os.urandom(52_428_800 - 1000)})
        self.assertGreater(len(package), 52_428_800 - 1000)
        over = package + bytes(52_428_801 - len(package)) if len(package) <= 52_428_800 else package
        self.check(over, "RequestEntityTooLargeException", "Zipped size must be smaller than 52428800 bytes", 413)

    def test_a_request_too_large(self):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        with self.beside_a_neighbour():
            connection.putrequest("POST", "/2015-03-31/functions")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(70_167_212))
            connection.endheaders()
            try:
                for _ in range(70):
                    connection.send(b"x" * (1 << 20))
            except ConnectionError:
                pass
            try:
                reply = connection.getresponse()
                self.assertEqual(reply.status, 413)
                self.assertIn(b"Request must be smaller than 70167211 bytes for the CreateFunction operation", reply.read())
            except (ConnectionError, http.client.HTTPException):
                self.fail("no answer to a request that is too large")
            finally:
                connection.close()

    def test_bad_base64(self):
        body = {"FunctionName": "hostile-package", "Role": "arn:aws:iam::123456789012:role/any", "Runtime": "python3.12",
                "Handler": "a.b", "Code": {"ZipFile": "***"}}
        status, _, _ = service.request("POST", "/2015-03-31/functions", json.dumps(body))
        self.assertEqual(status, 400)
        body["Code"]["ZipFile"] = base64.b64encode(b"x").decode()
        status, _, _ = service.request("POST", "/2015-03-31/functions", json.dumps(body))
        self.assertEqual(status, 400)


if __name__ == "__main__":
    unittest.main()
