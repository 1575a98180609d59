"""Lock this process in: no network, no files of this machine, no other process, limits on all it may use.

Layers, all of them required (a layer that the kernel denies is an error, not a warning):

- new mount, process, network, IPC and host-name namespaces, by a new user namespace where we are not root;
- a root of its own in memory, with Python's standard library read-only and one small writable folder; no /proc,
  no /sys, no home, no site-packages;
- resource limits; no capabilities; another user id where we were root; ``no_new_privs``;
- a system call filter (seccomp): no sockets, no new processes or programs, no tracing, mounts, shared memory,
  io_uring, bpf, nor any system call that is younger than the list.

The program is the first process of its process namespace: when it ends or is killed, the kernel kills whatever is
left of it. It is killed too when its starter dies. Linux 5.12 or newer (``mount_setattr``), x86-64 or ARM64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import select
import signal
import struct
import sys
import sysconfig
from pathlib import Path

from multitask_bench.sandbox.limits import Limits

# <linux/sched.h>, <sys/mount.h>, <linux/mount.h>, <sys/prctl.h>
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_THREAD = 0x00010000
MS_REC, MS_PRIVATE, MS_BIND = 0x4000, 1 << 18, 0x1000
MS_NOSUID, MS_NODEV = 2, 4
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
SYS_MOUNT_SETATTR = 442

NOBODY = 65534
WORK = "/tmp"  # noqa: S108  of the new root, where nothing else is

_libc = ctypes.CDLL(None, use_errno=True)


class CannotIsolateError(Exception):
    """The kernel, or what this process runs in, denies a layer; the text says which."""


def enter(limits: Limits) -> None:
    """Go on as the only process of a new, locked world; the process that called stays behind and waits.

    Returns in the locked process only. Raises: CannotIsolateError: in either process.
    """
    _die_with_parent()
    _separate()
    held, alive = os.pipe()
    child = os.fork()
    if child:
        os.close(held)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) % 256)
    os.close(alive)
    _die_with_parent()
    if select.select([held], [], [], 0)[0]:
        os._exit(1)  # the starter died before this process was bound to it
    os.close(held)
    os.setsid()  # a signal to its process group must not reach the starter
    _new_root(limits)
    _limit(limits)
    _drop_rights()
    _filter_calls()


def _call(what: str, result: int) -> int:
    if result < 0:
        raise CannotIsolateError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(what: str, option: int, value: int, more: object = 0) -> None:
    _call(what, _libc.prctl(option, ctypes.c_ulong(value), more, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _die_with_parent() -> None:
    _prctl("parent-death signal", PR_SET_PDEATHSIG, signal.SIGKILL)


def _separate() -> None:
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    if os.geteuid() == 0 and _libc.unshare(flags) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    _call("user namespace (unshare)", _libc.unshare(flags | CLONE_NEWUSER))
    try:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    except OSError as err:
        raise CannotIsolateError(f"user namespace (uid map): {err.strerror}") from err


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind)]
    what = f"mount {kind or source or 'private'}"
    _call(what, _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None))


def _read_only(path: str, *, devices: bool = False, recursive: bool = True) -> None:
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | (0 if devices else MOUNT_ATTR_NODEV)
    struct_mount_attr = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    done = _libc.syscall(
        SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, struct_mount_attr, ctypes.c_size_t(len(struct_mount_attr))
    )
    _call("read-only mount (mount_setattr, Linux 5.12)", done)


def _new_root(limits: Limits) -> None:
    """A root in memory that holds the standard library, a few devices and an empty folder to work in."""
    shown, hidden = _python_folders()
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")  # noqa: S108
    Path("/tmp/old").mkdir()  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    _call("pivot_root", _libc.syscall(_numbers()["pivot_root"], b".", b"old"))
    os.chdir("/")
    for path in shown:
        _show(path)
    for path in hidden:
        _mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=555")
    for name in ("null", "zero", "urandom"):
        place = Path("/dev", name)
        place.parent.mkdir(exist_ok=True)
        place.touch()
        _mount(f"/old/dev/{name}", str(place), None, MS_BIND)
        _read_only(str(place), devices=True)
    Path(WORK).mkdir()
    options = f"size={limits.disk_bytes},nr_inodes={4 * limits.open_files},mode=777"
    _mount("tmpfs", WORK, "tmpfs", MS_NOSUID | MS_NODEV, options)
    _call("unmount the old root", _libc.umount2(b"/old", MNT_DETACH))
    Path("/old").rmdir()
    _read_only("/", recursive=False)
    os.chdir(WORK)


def _python_folders() -> tuple[list[str], list[str]]:
    """The folders of Python's own modules and their shared libraries, and those of installed packages in them."""
    library = sysconfig.get_path("stdlib")
    own = {library, sysconfig.get_path("platstdlib"), f"{sys.base_prefix}/lib"}
    own |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
    real = sorted(path for path in own if Path(path).exists())
    shown = [path for path in real if not any(path.startswith(other + "/") for other in real)]
    packages = [f"{library}/site-packages", f"{library}/dist-packages", "/usr/lib/python3/dist-packages"]
    return shown, [path for path in packages if Path(path).is_dir()]


def _show(path: str) -> None:
    there = Path("/old" + path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if there.is_symlink():
        Path(path).symlink_to(there.readlink())
        return
    Path(path).mkdir()
    _mount(str(there), path, None, MS_BIND | MS_REC)
    _read_only(path)


def _limit(limits: Limits) -> None:
    for what, value in (
        (resource.RLIMIT_CPU, limits.cpu_s),  # soft and hard alike: the kernel kills and does not ask
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.disk_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.threads),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def _drop_rights() -> None:
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # past the last one that this kernel has
    if os.geteuid() == 0:
        _to_nobody()
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _call("capabilities", _libc.capset(header, nothing))
    _prctl("no_new_privs", PR_SET_NO_NEW_PRIVS, 1)
    _die_with_parent()  # a change of user id had cleared it


def _to_nobody() -> None:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as err:
        raise CannotIsolateError(f"give up root (setresuid): {err.strerror}") from err


# Numbers of system calls: (x86-64, ARM64; -1: does not exist there). From the kernel's syscall tables.
_CALLS: dict[str, tuple[int, int]] = {
    # network; socketpair stays, for asyncio
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept4": (288, 242),
    # processes and programs
    "fork": (57, -1),
    "vfork": (58, -1),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes' insides
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    # namespaces and mounts
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # memory outside the address-space limit
    "shmget": (29, 194),
    "shmat": (30, 196),
    "memfd_create": (319, 279),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "fanotify_init": (300, 262),
}
_CLONE = (56, 220)
_PRCTL = (157, 167)
# From 424 on all architectures share their numbers; of these only the ones that libc and Python use.
_FIRST_SHARED = 424
_YOUNG = (436, 437, 439, 441, 449)  # close_range, openat2, faccessat2, epoll_pwait2, futex_waitv
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000


def _numbers() -> dict[str, int]:
    column, _ = _architecture()
    return {name: numbers[column] for name, numbers in _CALLS.items() if numbers[column] >= 0}


def _architecture() -> tuple[int, int]:
    found = _ARCHITECTURES.get(platform.machine())
    if found is None or sys.maxsize < 2**32:
        raise CannotIsolateError(f"the system call filter knows x86-64 and ARM64, not {platform.machine()}")
    return found


def _filter_calls() -> None:
    """Install the filter: <linux/filter.h> programs of (code, jump if true, jump if false, constant)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill = 0x7FFF0000, 0x80000000
    denied, absent = 0x00050000 | 1, 0x00050000 | 38  # EPERM; ENOSYS, after which libc falls back to older calls
    column, architecture = _architecture()
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),
        (at_least, 0, 1, _X32),
        (give, 0, 0, kill),
    ]
    for number in sorted(_numbers().values()):
        program += [(equal, 0, 1, number), (give, 0, 0, denied)]
    # clone may make threads and nothing else; its flags are the first argument (low half at offset 16).
    program += [
        (equal, 0, 4, _CLONE[column]),
        (load, 0, 0, 16),
        (any_bit, 0, 1, CLONE_THREAD),
        (give, 0, 0, allow),
        (give, 0, 0, denied),
    ]
    # prctl may not undo that this process dies with its starter: it could sleep on after its time.
    program += [
        (equal, 0, 4, _PRCTL[column]),
        (load, 0, 0, 16),
        (equal, 0, 1, PR_SET_PDEATHSIG),
        (give, 0, 0, denied),
        (give, 0, 0, allow),
    ]
    for number in _YOUNG:
        program += [(equal, 0, 1, number), (give, 0, 0, allow)]
    program += [(at_least, 0, 1, _FIRST_SHARED), (give, 0, 0, absent), (give, 0, 0, allow)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    text = ctypes.create_string_buffer(code, len(code))
    whole = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(text)))
    _prctl("system call filter (seccomp)", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(whole))
