"""What runs in a sandbox stays there: the machine and its neighbours are out of reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxes.host import seccomp
from sandboxes.host.images import python
from tests.sandboxes.host.hosting import Make, Sandboxed, both

#: Calls that make(1) or a shell cannot: number, then arguments, by Python in the sandbox.
SYSCALL = """python3 -c '
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
result = libc.syscall(*[int(word, 0) for word in sys.argv[1:]])
print(errno.errorcode.get(ctypes.get_errno(), "") if result < 0 else "done")
' """


#: What the filter must never let through.
FORBIDDEN = """
mount umount2 pivot_root move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr
setns unshare bpf keyctl add_key request_key userfaultfd perf_event_open io_uring_setup
io_uring_enter io_uring_register init_module finit_module delete_module kexec_load
kexec_file_load reboot swapon swapoff open_by_handle_at process_vm_readv process_vm_writev
settimeofday clock_settime clock_adjtime adjtimex acct quotactl iopl ioperm kcmp pidfd_getfd
fanotify_init nfsservctl vhangup syslog clone clone3 personality socket
"""


def read(path: str) -> str:
    """A file of the machine's."""
    return Path(path).read_text()


REFUSED = [
    "mount -t tmpfs none /mnt",
    "mount --bind /etc /mnt",
    "mount -o remount,rw /sys",
    "umount /proc/sys",
    "unshare --user true",
    "unshare --net true",
    "unshare --mount true",
    "nsenter --target 1 --mount true",
    "chroot / true",
    "mknod /tmp/disk b 7 0",
    "mknod /tmp/mem c 1 1",
    "echo 1 > /proc/sys/kernel/panic",
    "echo b > /proc/sysrq-trigger",
    "echo '|/tmp/x' > /proc/sys/kernel/core_pattern",
    "echo 1 > /sys/kernel/profiling",
    "echo 1 > /.agent",
    "rm -f /.agent",
    "hostname other",
    "date -s 2001-01-01",
    "swapoff -a && swapon /dev/null",
    "dmesg --clear",
    "cat /proc/kcore | head -c 1 | grep -q .",
    "cat /proc/1/environ",
    "cat /proc/1/mem",
    "cat /proc/1/fd/3",
    "readlink /proc/1/exe",
    "ls /proc/1/root/",
    "head -c 1 /dev/mem",
    "ls /dev/loop0 || ls /dev/vda || ls /dev/sda",
]
#: What gVisor allows: both are its own kernel's alone, and PID 1's environment holds one PATH.
GVISOR_ALLOWS = {"unshare --user true", "cat /proc/1/environ"}


@pytest.mark.parametrize("command", REFUSED)
async def test_it_is_refused(sandbox: Sandboxed, command: str) -> None:
    await sandbox.fails(command)


async def test_a_kernel_of_its_own_refuses_the_same(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(isolation="gvisor")
    done = {command for command in REFUSED if (await sandbox.exec(command)).exit_code == 0}
    assert done == GVISOR_ALLOWS
    assert await sandbox.output("cat /proc/1/environ | tr -d '\\0'") == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/binHOME=/root"
    )


async def test_a_kernel_of_its_own_is_not_the_machines(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(isolation="gvisor")
    assert await sandbox.output("uname -r") != f"{os.uname().release}\n"
    rows = dict(
        line.split(":\t", 1)
        for line in (await sandbox.output("cat /proc/self/status")).splitlines()
    )
    assert {rows["CapEff"], rows["CapPrm"], rows["CapBnd"]} == {"00000000000004fb"}
    assert set((await sandbox.output("cut -d' ' -f3 /proc/mounts | sort -u")).split()) == {
        *("9p", "cgroup", "devpts", "proc", "sysfs", "tmpfs"),
    }
    # Where the host's sockets are is hidden, and nothing can be put there.
    assert await sandbox.output("ls -A /.host") == ""
    assert "Read-only file system" in await sandbox.fails("touch /.host/x")
    # On its own disk, as with runc, and not in memory.
    assert await sandbox.output("stat -f -c %S%b / > a; stat -f -c %S%b /tmp | diff - a") == ""
    interfaces = await sandbox.output("tail -n +3 /proc/net/dev | cut -d: -f1")
    assert interfaces.split() == ["lo"]
    assert await sandbox.fails("curl --max-time 5 -sS http://192.0.2.1/")
    # What the machine's kernel is spared: the kernel itself is a process of nobody's.
    status = read(f"/proc/{sandbox.host.init_pid(sandbox.id)}/status")
    assert "\nSeccomp:\t2\n" in status


async def test_gvisor_installs_and_runs_python(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(isolation="gvisor", template="python-3.12", memory_mb=512)
    await sandbox.output("python -c 'import numpy, pandas, requests, httpx, yaml, pytest'")
    await sandbox.output("python -m venv /tmp/v && /tmp/v/bin/pip --version")
    # Unix sockets between its own processes, with descriptors through them.
    await sandbox.output(
        'python -c \'import multiprocessing as m; m.set_start_method("forkserver"); '
        'p = m.get_context("forkserver").Process(target=print, args=(1,)); p.start(); p.join(); '
        "assert p.exitcode == 0'"
    )
    await sandbox.output(
        "useradd builder && install -o builder -m 600 /etc/passwd /workspace/p && "
        "chown builder:builder /workspace && setpriv --reuid builder --init-groups "
        "sh -c 'cat /workspace/p && echo x > /workspace/q' && mkfifo /tmp/f"
    )


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("41 17 3 0", "EPERM"),  # a packet socket
        ("41 2 3 1", "EPERM"),  # a raw socket
        ("41 38 5 0", "EPERM"),  # the kernel's crypto
        ("41 40 1 0", "EPERM"),  # to the machine below
        ("101 16 1 0 0", "EPERM"),  # ptrace of PID 1
        ("310 1 0 0 0 0 0", "EPERM"),  # reading another's memory
        ("321 0 0 0", "EPERM"),  # bpf
        ("323 0", "EPERM"),  # userfaultfd
        ("425 1 0", "EPERM"),  # io_uring
        ("250 0 0", "EPERM"),  # the kernel's keys
        ("298 0 0 0 0 0", "EPERM"),  # perf
        ("304 0 0 0", "EPERM"),  # by handle, out of any folder
        ("428 -100 0 1", "EPERM"),  # open_tree
        ("442 -1 0 0 0 0", "EPERM"),  # mount_setattr
        ("272 0x10000000", "EPERM"),  # unshare
        ("56 0x10000011 0 0 0 0", "EPERM"),  # clone into a user namespace
        ("435 0 0", "ENOSYS"),  # clone3 hides its flags
        ("135 0x0400000", "EPERM"),  # personality: no address randomisation and more
    ],
)
async def test_the_kernel_is_out_of_reach(make_sandbox: Make, call: str, answer: str) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare")
    assert await sandbox.output(SYSCALL + call) == f"{answer}\n"


async def test_it_has_few_capabilities_and_gains_none(sandbox: Sandboxed) -> None:
    status = await sandbox.output("cat /proc/self/status")
    rows = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("1", "2")
    assert {rows["CapEff"], rows["CapPrm"], rows["CapBnd"]} == {"00000000000004fb"}
    assert rows["CapAmb"].strip("0") == ""


@both
async def test_a_setuid_program_gives_nothing(sandbox: Sandboxed) -> None:
    script = (
        "cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && "
        "setpriv --reuid 1000 --regid 1000 --clear-groups /tmp/id -u"
    )
    assert await sandbox.output(script) == "1000\n"


@both
async def test_its_root_is_nobody_on_the_machine(sandbox: Sandboxed) -> None:
    status = read(f"/proc/{sandbox.host.init_pid(sandbox.id)}/status")
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert all(int(uid) >= 1 << 30 for uid in uids)


@both
async def test_neighbours_share_no_ids_files_or_processes(make_sandbox: Make) -> None:
    one, other = await make_sandbox(), await make_sandbox()
    await one.output("echo secret > /tmp/mine; echo secret > /etc/mine; sleep 321 & disown")
    assert await other.fails("cat /tmp/mine")
    assert await other.fails("cat /etc/mine")
    assert "sleep 321" not in await other.output("ps aux")
    inits = [one.host.init_pid(sandbox.id) for sandbox in (one, other)]
    owners = [os.stat(f"/proc/{pid}").st_uid for pid in inits]  # noqa: PTH116
    assert abs(owners[0] - owners[1]) >= 65536


async def test_the_machines_files_are_not_its_files(sandbox: Sandboxed) -> None:
    machine = read("/etc/shadow")
    assert await sandbox.output("cat /etc/shadow") != machine
    listing = await sandbox.output("ls -d /srv/* /home/* /mnt/* /media/* 2>/dev/null || true")
    assert listing == ""
    mounts = await sandbox.output("cut -d' ' -f3 /proc/mounts | sort -u")
    assert set(mounts.split()) <= {
        "cgroup",
        "devpts",
        "devtmpfs",
        "mqueue",
        "overlay",
        "proc",
        "sysfs",
        "tmpfs",
    }


@both
async def test_it_sees_only_its_own_processes(sandbox: Sandboxed) -> None:
    assert (await sandbox.output("cat /proc/1/comm")).strip() == ".agent"
    numbers = await sandbox.output("ls /proc | grep -E '^[0-9]+$'")
    assert len(numbers.split()) < 12


@both
async def test_the_machines_paths_do_not_show(sandbox: Sandboxed) -> None:
    told = await sandbox.output(
        "cat /sys/block/*/loop/backing_file /proc/self/mountinfo /proc/swaps /proc/partitions"
        " /proc/1/cgroup /proc/self/cgroup 2>/dev/null || true"
    )
    assert str(sandbox.host.directory) not in told
    assert str(sandbox.host.templates) not in told


@both
async def test_signals_to_pid_1_change_nothing(sandbox: Sandboxed) -> None:
    await sandbox.exec("for n in $(seq 1 64); do kill -$n 1; done")
    await sandbox.exec("kill -9 -1")
    assert await sandbox.output("echo alive") == "alive\n"


async def test_there_is_no_network_but_loopback(sandbox: Sandboxed) -> None:
    interfaces = await sandbox.output("tail -n +3 /proc/net/dev | cut -d: -f1")
    assert interfaces.split() == ["lo"]
    assert await sandbox.output("cat /sys/class/net/lo/carrier") == "1\n"
    assert await sandbox.fails("curl --max-time 5 -sS http://192.0.2.1/")


@both
async def test_a_name_for_itself_and_localhost_resolve(sandbox: Sandboxed) -> None:
    assert await sandbox.output('getent hosts "$(hostname)" localhost')


async def test_it_trusts_what_the_machine_trusts(sandbox: Sandboxed) -> None:
    bundle = read("/etc/ssl/certs/ca-certificates.crt")
    assert await sandbox.output('cat "$SSL_CERT_FILE"') == bundle


async def test_its_own_root_may_do_what_installing_takes(sandbox: Sandboxed) -> None:
    await sandbox.output(
        "useradd builder && install -o builder -m 600 /etc/passwd /workspace/p && "
        "chown builder:builder /workspace && setpriv --reuid builder --init-groups "
        "sh -c 'cat /workspace/p && echo x > /workspace/q' && mkfifo /tmp/f && ln /tmp/f /tmp/g"
    )


@pytest.mark.parametrize("template", ["python-3.12", "python-3.12-bare"])
async def test_python_works(make_sandbox: Make, template: str) -> None:
    sandbox = await make_sandbox(template=template, memory_mb=512)
    assert (await sandbox.output("python --version; python3 -V")).count("Python 3.12.") == 2
    await sandbox.output("python -c 'import ssl, sqlite3, lzma, bz2, ctypes, readline, uuid'")
    await sandbox.output("pip --version && python -m venv /tmp/v && /tmp/v/bin/pip --version")
    where = await sandbox.output("python -c 'import sysconfig; print(sysconfig.get_config_vars())'")
    assert str(python.find().prefix) not in where
    if template == "python-3.12":
        await sandbox.output("python -c 'import numpy, pandas, requests, httpx, yaml, pytest'")


@both
async def test_node_works(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="node-22", memory_mb=1024)
    assert (await sandbox.output("node --version")).startswith("v22.")
    assert await sandbox.output("node -p '6*7'") == "42\n"
    await sandbox.output("npm --version && npx --version && npm init -y")


def test_the_filter_lets_no_dangerous_call_through() -> None:
    assert not set(FORBIDDEN.split()) & set(seccomp.ALLOWED)
    assert seccomp.profile()["defaultAction"] == "SCMP_ACT_ERRNO"
