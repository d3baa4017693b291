"""Which system calls a sandbox may make: an allow-list; everything else answers EPERM.

Left out on purpose: whatever mounts, enters or makes namespaces, loads code into the kernel,
reads its keys, sets clocks, or has been a steady source of holes (io_uring, userfaultfd, bpf,
perf). ``clone3`` hides its flags from a filter, so it answers ENOSYS and libc uses ``clone``.
"""

from __future__ import annotations

import platform
from typing import Any

_EPERM, _ENOSYS = 1, 38
#: One architecture each: programs of the machine's 32-bit sibling are not run.
_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
#: mount, cgroup, uts, ipc, user, pid and network namespaces.
_NAMESPACE_FLAGS = 0x7E020000
#: Linux's own, with or without fixed addresses, and "tell me which it is".
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)
#: unix, IPv4, IPv6, netlink.
_FAMILIES = (1, 2, 10, 16)

_FILES = """
access chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr
flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents
getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown
lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod
mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr
splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink
unlinkat utime utimensat utimes vmsplice write writev chdir chroot pipe pipe2
"""
_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
mlockall mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_madvise process_mrelease remap_file_pages get_mempolicy mbind set_mempolicy
set_mempolicy_home_node
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area
getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid
getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill pidfd_open pidfd_send_signal
prctl prlimit64 ptrace rseq sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setuid sysinfo tgkill tkill times uname
vfork wait4 waitid getcpu getrandom landlock_add_rule landlock_create_ruleset
landlock_restrict_self restart_syscall
"""
_SIGNALS_AND_TIME = """
alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
"""
_TALK = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake getpeername
getsockname getsockopt listen mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend
mq_unlink msgctl msgget msgrcv msgsnd poll ppoll pselect6 recv recvfrom recvmmsg recvmsg select
semctl semget semop semtimedop send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget
shutdown socketpair io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
"""

ALLOWED = tuple(" ".join((_FILES, _MEMORY, _PROCESSES, _SIGNALS_AND_TIME, _TALK)).split())


def profile() -> dict[str, Any]:
    """The filter in the form an OCI configuration carries it."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [_ARCHITECTURES[platform.machine()]],
        "syscalls": [
            {"names": list(ALLOWED), "action": "SCMP_ACT_ALLOW"},
            _allow("clone", index=0, op="SCMP_CMP_MASKED_EQ", value=_NAMESPACE_FLAGS, value_two=0),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
            *(_allow("personality", index=0, value=value) for value in _PERSONALITIES),
            *(_allow("socket", index=0, value=value) for value in _FAMILIES),
        ],
    }


def _allow(
    name: str, *, index: int, value: int, value_two: int = 0, op: str = "SCMP_CMP_EQ"
) -> dict[str, Any]:
    argument = {"index": index, "value": value, "valueTwo": value_two, "op": op}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}
