"""A machine of its own for what this one's kernel hasn't: Debian's kernel, emulated, without KVM.

It has a pure tree of version 2 control groups, the service's binary, busybox, and nothing else.
A shell inside is reached over its second serial port, and its port 80, which leads to the
service, by a port of this machine's loopback.
"""

import lzma
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import services
import support
import tools

# Debian's kernel and its static busybox, unpacked by `cargo xtask test`.
FILES = tools.TOOLS / "guest"
# What the service and the disk need of the kernel's modules; each brings what it depends on.
MODULES = [
    *["virtio_pci", "virtio_blk", "virtio_net"],
    *["loop", "veth", "nft_chain_nat", "nft_masq", "nft_ct"],
]
PROGRAMS = {support.BINARY: "usr/bin/coldframe", "/usr/sbin/mkfs.ext4": "usr/sbin/mkfs.ext4"}
# Made to have room for some `/tmp`; it is as sparse as they are.
DISK_BYTES = 4 << 30
MEMORY_MB = 1024
# It takes 3 s on an idle machine.
BOOT_DEADLINE_S = 30
# Ends what the shell says, with the command's exit code.
END = "=-=-="

# The first program, in the archive that the kernel unpacks into memory.
INITRD = """#!/busybox sh
/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /busybox insmod /modules/$module; done
/busybox mount -t ext4 -o noatime /dev/vda /root
/busybox mount -o move /dev /root/dev
exec /busybox switch_root /root /init
"""

# The second, on the disk.
INIT = f"""#!/bin/sh
export PATH=/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
# The service listens on loopback only.
nc -ll -p 80 -e nc 127.0.0.1 4566 &
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
echo {END} 0 >&3
# On a terminal at both ends a shell would show a prompt.
sh <&3 2>&1 | cat >&3
"""


def file(pattern):
    """The one file among those of the guest."""
    found = list(FILES.glob(pattern))
    assert len(found) == 1, f"{pattern} in {FILES}: {found}; `cargo xtask test` brings it"
    return found[0]


def modules():
    """Name and content of the modules, in the order in which they can be loaded."""
    files = {}
    for path in FILES.glob("**/kernel/**/*.ko*"):
        files[path.name.split(".")[0].replace("-", "_")] = path
    order = {}

    def need(name):
        # One that has no file is a part of the kernel.
        if name in order or name not in files:
            return
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        for other in re.search(rb"\0depends=([^\0]*)\0", content)[1].decode().split(","):
            need(other.replace("-", "_"))
        order[name] = content

    for name in MODULES:
        need(name)
    return order


def archive(entries):
    """The kernel's "newc" archive of `(name, mode, content)`."""
    packed = b""
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = name.encode() + b"\0"
        # inode, mode, user, group, links, time, size, 2 × device, 2 × device it is, name, sum
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        for piece in [b"070701" + b"".join(b"%08X" % field for field in fields) + name, content]:
            packed += piece + b"\0" * (-len(piece) % 4)
    return packed


def libraries(program):
    found = tools.run("ldd", program).stdout
    return re.findall(r"(/\S+) \(0x", found)


class Guest:
    """One machine. A context manager: booted inside, gone behind."""

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="coldframe-guest-"))
        self.console = self.directory / "console"
        self.said = b""
        self.process = self.shell = None
        try:
            self._make_disk()
            self._make_initrd()
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.shell:
            self.shell.close()
        shutil.rmtree(self.directory)

    def _make_disk(self):
        root = self.directory / "root"
        for name in ["bin", "sbin", "lib", "lib64"]:
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for name in ["dev", "proc", "sys", "tmp", "run", "root", "var", "etc", "home/user"]:
            (root / name).mkdir(parents=True)
        os.chown(root / "home/user", 1000, 1000)
        (root / "etc/passwd").write_text(
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
        )
        self.busybox = file("**/bin/busybox")
        shutil.copy(self.busybox, root / "usr/bin/busybox")
        for name in tools.run(self.busybox, "--list").stdout.split():
            if name != "busybox":
                (root / "usr/bin" / name).symlink_to("busybox")
        for program, target in PROGRAMS.items():
            shutil.copy(program, root / target)
            for library in libraries(program):
                (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, root / library.lstrip("/"))
        (root / "init").write_text(INIT)
        (root / "init").chmod(0o755)
        self.disk = self.directory / "disk"
        with open(self.disk, "wb") as disk:
            disk.truncate(DISK_BYTES)
        tools.run(
            *["/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal"],
            *["-E", "lazy_itable_init=1,nodiscard", "-d", root, self.disk],
        )

    def _make_initrd(self):
        files = modules()
        self.initrd = self.directory / "initrd"
        self.initrd.write_bytes(archive([
            *[(name, 0o40755, b"") for name in ["dev", "root", "modules"]],
            *[(f"modules/{name}", 0o100644, content) for name, content in files.items()],
            ("busybox", 0o100755, self.busybox.read_bytes()),
            ("init", 0o100755, INITRD.format(modules=" ".join(files)).encode()),
        ]))

    def _boot(self):
        # Without it a guest that gets little of the processor may calibrate its clock for ever.
        mhz = re.search(r"cpu MHz\s*: ([\d.]+)", Path("/proc/cpuinfo").read_text())[1]
        clock = f"tsc_early_khz={int(float(mhz) * 1000)} tsc=reliable no_timer_check"
        # Large pages, and a processor without the instruction that clears them byte by byte: what
        # is one step elsewhere is many when emulated.
        options = "console=ttyS0 panic=-1 nokaslr mitigations=off transparent_hugepage=always"
        self.port = services.free_port()
        here, there = socket.socketpair()
        self.shell = here
        with there:
            self.process = subprocess.Popen(
                [
                    # It ends with this process, however that ends.
                    *["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"],
                    *["-M", "q35", "-accel", "tcg", "-cpu", "qemu64", "-smp", "1"],
                    *["-m", str(MEMORY_MB), "-nodefaults", "-display", "none", "-no-reboot"],
                    *["-kernel", file("boot/vmlinuz-*"), "-initrd", self.initrd],
                    *["-append", f"{options} {clock}"],
                    *["-drive", f"file={self.disk},format=raw,if=none,id=disk,cache=unsafe"],
                    *["-device", "virtio-blk-pci,drive=disk"],
                    *["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:80"],
                    *["-device", "virtio-net-pci,netdev=net"],
                    *["-serial", f"file:{self.console}"],
                    *["-chardev", f"socket,id=shell,fd={there.fileno()}", "-serial", "chardev:shell"],
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        self._answer(BOOT_DEADLINE_S, "the guest boots")

    def run(self, command, check=True):
        """Runs one command line of the shell inside to its end; what it said."""
        self.shell.sendall(f"({command}) </dev/null; echo {END} $?\n".encode())
        code, said = self._answer(support.DEADLINE_S, command)
        if check and code != 0:
            raise AssertionError(f"exit {code}: {command}\n{said}")
        return said

    def _answer(self, deadline_s, what):
        self.shell.settimeout(deadline_s)
        while not (end := re.search(rf"^{END} (\d+)\r?\n".encode(), self.said, re.MULTILINE)):
            try:
                piece = self.shell.recv(1 << 16)
            except TimeoutError:
                piece = b""
            if not piece:
                console = self.console.read_text(errors="replace")[-4000:]
                raise AssertionError(f"not within {deadline_s} s: {what}\n{self.said}\n{console}")
            self.said += piece
        said, self.said = self.said[: end.start()], self.said[end.end():]
        return int(end[1]), said.decode(errors="replace")

    def read(self, path):
        return self.run(f"cat {path}").strip()

    def make_group(self, path, controllers="cpu memory pids", user="root"):
        """A control group to start a service in, as a manager of services makes one."""
        switches = " ".join(f"+{name}" for name in controllers.split())
        at = "/sys/fs/cgroup"
        for name in path.removeprefix(at).strip("/").split("/"):
            self.run(f"echo {switches} > {at}/cgroup.subtree_control; mkdir -p {at}/{name}")
            at = f"{at}/{name}"
        self.run(f"chown {user} {at} {at}/cgroup.procs {at}/cgroup.subtree_control")
        return at


class GuestService(support.Service):
    """`coldframe up` inside a guest, started in a control group of it."""

    STATE = "/run/coldframe"

    def __init__(self, guest, *options, group="/sys/fs/cgroup", user="root"):
        super().__init__(*options)
        self.guest, self.group, self.user = guest, group, user
        self.url, self.port = f"http://127.0.0.1:{guest.port}", guest.port
        self.inside = None

    @property
    def pid(self):
        """As the guest counts."""
        return self.inside

    def command(self, *words):
        """The command line that becomes the binary, as the service's user in its group."""
        line = shlex.quote(shlex.join(["exec", "coldframe", *words]))
        return f"echo 0 > {self.group}/cgroup.procs && exec su {self.user} -c {line}"

    def start(self):
        inner = shlex.quote(f"echo $$ > {self.STATE}/pid; {self.command('up', *self.options)}")
        self.guest.run(
            f"rm -rf {self.STATE}; mkdir {self.STATE}; cd {self.STATE}; touch out;"
            f" (sh -c {inner} > out 2> errors; echo $? > code) &"
        )
        ready = "ready on http://127.0.0.1:4566 "
        support.wait_until(lambda: ready in self.guest.read(f"{self.STATE}/out"), self.stderr)
        self.inside = int(self.guest.read(f"{self.STATE}/pid"))
        return self

    def stderr(self):
        return self.guest.run(f"cat {self.STATE}/errors")

    def terminate(self):
        self.guest.run(f"kill {self.pid}")

    def stop(self, check=True):
        self.terminate()
        code = self._code()
        if check:
            errors = self.stderr()
            assert code == "0", f"exit {code}; {errors}"
            assert "panicked" not in errors, errors

    def kill(self):
        self.guest.run(f"kill -9 {self.pid}")
        self._code()

    def _code(self):
        code = f"cat {self.STATE}/code 2>/dev/null || true"
        return support.wait_until(lambda: self.guest.run(code).strip(), self.stderr)
