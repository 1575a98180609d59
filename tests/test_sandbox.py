"""What a program tries inside the sandbox, and what comes of it; nothing here leaves this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from multitask_bench.errors import ConfigError
from multitask_bench.sandbox import run
from multitask_bench.sandbox._tests import judge
from multitask_bench.sandbox.limits import Limits
from multitask_bench.sandbox.run import Verdict, run_tests, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

QUICK = Limits(cpu_s=2, wall_s=20)


def result_of(attempt: str, *, limits: Limits = QUICK, **places: object) -> str:
    """What the body of ``attempt`` returns, or the name of what it raises."""
    body = dedent(attempt).strip()
    for name, value in places.items():
        body = body.replace(name, repr(value))
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    source = f"import os, socket, sys, ctypes\ndef attempt():\n    try:\n{lines}\n"
    source += "    except BaseException as err:\n        return type(err).__name__\n"
    found = run_tests(source, ["answer = attempt()", "raise ValueError(answer)"], limits=limits)
    assert found.result == "failed"
    return found.reason.removeprefix("ValueError: ")


def left_over() -> list[psutil.Process]:
    """Processes that this one started and that still run, after up to two seconds of waiting."""
    for _ in range(40):
        found = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
        if not found:
            return []
        time.sleep(0.05)
    return found


# What it is for.


def test_a_right_program_passes_and_a_wrong_one_fails() -> None:
    tests = ["assert double(2) == 4", "assert double('a') == 'aa'"]
    assert run_tests("def double(x):\n    return x * 2", tests) == Verdict("passed")
    assert run_tests("def double(x):\n    return x + 2", tests).result == "failed"
    assert run_tests("def double(x)\n    return x", tests).reason.startswith("SyntaxError")
    assert run_tests("", tests).reason.startswith("NameError")


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("def f(): return (1, [2.5, None], {'a': {1, 2}}, b'x', 1j, True)", "f() == (1, [2.5, None], {'a': {1, 2}}, b'x', 1j, True)"),
        ("def f(): return 7 ** 500", "f() == 7 ** 500"),
        ("from collections import Counter\ndef f(): return Counter('aab')", "f() == {'a': 2, 'b': 1}"),
        ("from decimal import Decimal\ndef f(): return Decimal('1.50')", "f() == 1.5"),
        ("from datetime import date\ndef f(): return date(2024, 2, 29)", "str(f()) == '2024-02-29'"),
        ("def f(xs): xs.sort()", "[xs := [3, 1, 2], f(xs)] == [[1, 2, 3], None]"),
        ("def f(n):\n    while n: yield n; n -= 1", "list(f(3)) == [3, 2, 1]"),
        ("class P:\n    def __init__(self, x): self.x = x\n    def more(self): return self.x + 1", "P(4).more() == P(5).x"),
        ("def f(x): return x * y\ny = 3", "f(2) == 6 and y == 3"),
        ("import math\ndef f(): return math.pi", "math.isclose(f(), 3.14159265)is False"),
        ("def f(kind): return kind('3')", "f(int) == 3"),
        ("import re, json, itertools, asyncio, dataclasses\ndef f(): return asyncio.run(asyncio.sleep(0, 5))", "f() == 5"),
        ("import threading\ndef f():\n    out = []\n    t = threading.Thread(target=out.append, args=(1,))\n    t.start(); t.join()\n    return out", "f() == [1]"),
        ("def f():\n    with open('a.txt', 'w') as file: file.write('x')\n    return open('a.txt').read()", "f() == 'x'"),
        ("def f(): print('x' * 1_000_000); return input", "f() is not None"),
        ("if __name__ == '__main__':\n    input()\ndef f(): return 1", "f() == 1"),
    ],
)  # fmt: skip
def test_ordinary_programs_run_as_in_one_process(source: str, test: str) -> None:
    assert run_tests(source, [f"assert {test}"]) == Verdict("passed")


def test_an_exception_of_the_program_can_be_what_a_test_wants() -> None:
    test = "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError"
    assert run_tests("def f(x):\n    if x < 0: raise ValueError('x')", [test]).result == "passed"
    assert run_tests("def f(x): return x", [test]).result == "failed"


def test_a_test_that_cannot_be_run_is_no_failure_of_the_program() -> None:
    assert run_tests("def f(g): return g(1)", ["assert f(lambda x: x) == 1"]).result == "unfit"
    assert run_tests("def f(): return 1", ["assert f( == 1"]).result == "unfit"


def test_tests_that_cannot_be_run_end_only_when_the_program_is_locked() -> None:
    # Earlier, its starter would be killed, and it would look as if this machine could not lock it.
    mine, programs = socket.socketpair()
    with mine, programs:
        found: list[tuple[str, str]] = []
        judging = threading.Thread(target=lambda: found.append(judge(["assert f( == 1"], [], mine, most=1000)))
        judging.start()
        judging.join(0.2)
        assert judging.is_alive()
        programs.send(b"x")
        judging.join()
    assert found[0][0] == "unfit"


def test_a_built_in_name_is_the_programs_only_where_its_tests_say_so() -> None:
    source, test = "def sum(a, b):\n    return a + b", ["assert sum(1, 2) == 3"]
    assert run_tests(source, test).result == "failed"
    assert run_tests(source, test, own=["sum"]).result == "passed"


# Network.


def test_no_connection_reaches_this_machine(tmp_path: Path) -> None:
    reached = []
    tcp, udp, unix, hidden = (socket.socket(f, k) for f, k in ((2, 1), (2, 2), (1, 1), (1, 1)))
    with tcp, udp, unix, hidden:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        path = f"/tmp/mtb-{os.getpid()}.sock"
        unix.bind(path)
        hidden.bind(f"\0mtb-{os.getpid()}")
        for one in (tcp, unix, hidden):
            one.listen()
            one.settimeout(0.05)
        udp.settimeout(0.05)
        for place in (tcp.getsockname(), path, f"\0mtb-{os.getpid()}"):
            family = 2 if isinstance(place, tuple) else 1
            tried = "s = socket.socket(FAMILY, 1)\ns.connect(PLACE)\nreturn 'escaped'"
            assert result_of(tried, FAMILY=family, PLACE=place) == "PermissionError"
        sent = "s = socket.socket(2, 2)\ns.sendto(b'x', PLACE)\nreturn 'escaped'"
        assert result_of(sent, PLACE=udp.getsockname()) == "PermissionError"
        for one in (tcp, unix, hidden):
            with pytest.raises(TimeoutError):
                reached.append(one.accept())
        with pytest.raises(TimeoutError):
            udp.recv(1)
    Path(path).unlink()
    assert not reached


def test_no_name_is_resolved() -> None:
    assert result_of("return str(socket.getaddrinfo('localhost', 80))") in ("gaierror", "PermissionError")


def test_only_a_pair_of_sockets_within_the_program_works() -> None:
    assert result_of("a, b = socket.socketpair()\na.send(b'in')\nreturn b.recv(2).decode()") == "in"


# Files.


def test_no_file_outside_can_be_read_or_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret", encoding="utf-8")
    home = str(Path.home())
    assert result_of("return open(PATH).read()", PATH=str(secret)) == "FileNotFoundError"
    assert result_of("return str(os.listdir(PATH))", PATH=home) in ("FileNotFoundError", "['.pyenv']")
    assert result_of("return open('/etc/passwd').read()") == "FileNotFoundError"
    assert result_of("os.symlink(PATH, 'link')\nreturn open('link').read()", PATH=str(secret)) == "FileNotFoundError"
    assert result_of("return open('../' * 30 + PATH).read()", PATH=str(secret)[1:]) == "FileNotFoundError"
    # Its own /tmp is another one, in memory.
    assert result_of("os.makedirs(PATH)\nreturn 'made'", PATH=str(tmp_path / "x")) == "made"
    assert not (tmp_path / "x").exists()
    assert result_of("os.makedirs(PATH)\nreturn 'escaped'", PATH="/var/x") == "OSError"
    assert result_of("open(PATH, 'w')\nreturn 'escaped'", PATH=os.__file__) == "OSError"
    assert result_of("os.unlink(PATH)\nreturn 'escaped'", PATH=os.__file__) in ("OSError", "PermissionError")
    assert result_of("os.chmod(PATH, 0o777)\nreturn 'escaped'", PATH=os.__file__) in ("OSError", "PermissionError")
    assert secret.read_text(encoding="utf-8") == "s3cret"


def test_what_one_program_writes_the_next_does_not_find() -> None:
    assert result_of("open('mark', 'w').write('x')\nreturn str(os.listdir())") == "['mark']"
    assert result_of("return str(os.listdir())") == "[]"


def test_there_is_no_proc_and_no_environment_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTB_TEST_KEY", "k3y")
    assert result_of("return os.environ.get('MTB_TEST_KEY', 'none')") == "none"
    for path in ("/proc", "/proc/1/environ", "/sys", "/proc/self/mem", "/dev/shm", "/dev/sda", "/dev/mem"):
        assert result_of("return str(os.stat(PATH))", PATH=path) == "FileNotFoundError"


def test_no_installed_package_can_be_imported() -> None:
    assert result_of("import pydantic\nreturn 'escaped'") == "ModuleNotFoundError"
    assert result_of("import multitask_bench\nreturn 'escaped'") == "ModuleNotFoundError"


def test_no_descriptor_of_the_parent_is_open(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        count = "n = 0\nfor fd in range(200):\n    try: os.fstat(fd); n += 1\n    except OSError: pass\nreturn str(n)"
        assert result_of(count) == "4"  # nothing to read, two to write to nothing, the channel


def test_files_are_bounded_in_size_together_and_in_number() -> None:
    assert result_of("open('big', 'wb').write(bytes(20 << 20))\nreturn 'escaped'") == "OSError"
    many = "for i in range(5): open(str(i), 'wb').write(bytes(4 << 20))\nreturn 'escaped'"
    assert result_of(many) == "OSError"
    assert result_of("for i in range(5000): open(str(i), 'w').close()\nreturn 'escaped'") == "OSError"
    assert result_of("kept = [open(str(i), 'w') for i in range(100)]\nreturn 'escaped'") == "OSError"


# Processes, memory, time.


def test_no_second_process_starts() -> None:
    assert result_of("os.fork()\nreturn 'escaped'") == "PermissionError"
    assert result_of("import subprocess\nsubprocess.run(['/bin/true'])\nreturn 'escaped'") == "PermissionError"
    assert result_of("os.execv('/bin/true', ['true'])\nreturn 'escaped'") in ("PermissionError", "FileNotFoundError")
    assert result_of("return str(os.system('true') >> 8)") == "127"  # what libc says where it could not start one
    assert (
        result_of("import multiprocessing\nmultiprocessing.Process(target=print).start()\nreturn 'x'")
        == "PermissionError"
    )


def test_a_daemonised_grandchild_is_not_there_afterwards() -> None:
    daemon = """
    def child():
        os.setsid()
        if os.fork() == 0:
            while True: pass
    if os.fork() == 0:
        child()
    return 'started'
    """
    assert result_of(daemon) == "PermissionError"
    assert left_over() == []


def test_threads_are_bounded_and_die_with_the_program() -> None:
    bomb = """
    import threading, time
    n = 0
    for n in range(10_000):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return 'escaped'
    """
    assert result_of(bomb) in ("RuntimeError", "MemoryError")
    assert left_over() == []


def test_memory_is_bounded() -> None:
    assert result_of("x = bytearray(1 << 30)\nreturn 'escaped'") == "MemoryError"
    grows = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
    assert result_of(grows) == "MemoryError"
    assert result_of("import mmap\nm = mmap.mmap(-1, 1 << 30)\nreturn 'escaped'") in ("OSError", "MemoryError")


@pytest.mark.parametrize("where", ["def f(): pass\nwhile True: pass", "def f():\n    while True: pass"])
def test_an_endless_loop_ends_by_its_cpu_time(where: str) -> None:
    found = run_tests(where, ["f()"], limits=Limits(cpu_s=1, wall_s=60))
    assert found == Verdict("failed", "the program ended")


def test_sleeping_ends_by_the_clock_and_leaves_nothing() -> None:
    found = run_tests("import time\ndef f(): time.sleep(1000)", ["f()"], limits=Limits(wall_s=1.5))
    assert found == Verdict("failed", "not finished after 1.5 s")
    assert left_over() == []


def test_a_program_that_would_outlive_its_starter_cannot() -> None:
    source = "import ctypes, time\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\ndef f(): time.sleep(30)"
    found: list[Verdict] = []
    running = threading.Thread(target=lambda: found.append(run_tests(source, ["f()"], limits=Limits(wall_s=1.5))))
    running.start()
    family: set[psutil.Process] = set()
    while running.is_alive():
        family.update(psutil.Process().children(recursive=True))
        time.sleep(0.05)
    assert found == [Verdict("failed", "not finished after 1.5 s")]
    assert len(family) == 4  # program and tests, each with its starter
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_signals_reach_nobody_else() -> None:
    assert os.getpid() != 1
    assert result_of("return f'{os.getpid()} {os.getppid()}'") == "1 0"
    assert result_of("os.kill(PID, 9)\nreturn 'escaped'", PID=os.getpid()) == "ProcessLookupError"
    assert result_of("os.kill(-1, 9)\nreturn 'nobody'") in ("nobody", "ProcessLookupError")
    assert result_of("os.kill(0, 9)\nreturn 'nobody'") in ("nobody", "EOFError", "the program ended")
    assert result_of("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nreturn 'fine'") == "fine"


def test_a_program_dies_with_whoever_started_it() -> None:
    script = (
        "from multitask_bench.sandbox.run import run_tests\n"
        "run_tests('import time\\ndef f(): time.sleep(1000)', ['f()'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as starter:
        begun = psutil.Process(starter.pid)
        for _ in range(200):
            family = begun.children(recursive=True)
            if len(family) == 4:  # program and tests, each with its starter
                break
            time.sleep(0.05)
        assert len(family) == 4
        starter.kill()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


# The kernel.


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ptrace", 101), ("mount", 165), ("unshare", 272), ("setns", 308), ("memfd_create", 319), ("shmget", 29),
        ("socket", 41), ("fork", 57), ("vfork", 58), ("execve", 59), ("bpf", 321), ("process_vm_readv", 310),
        ("clone", 56), ("keyctl", 250), ("chroot", 161), ("userfaultfd", 323),
    ],
)  # fmt: skip
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_a_call_past_python_is_denied(name: str, number: int) -> None:
    call = "libc = ctypes.CDLL(None, use_errno=True)\nreturn f'{libc.syscall(NUMBER, 0, 0, 0, 0, 0, 0)} {ctypes.get_errno()}'"
    assert result_of(call, NUMBER=number) == "-1 1"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_young_calls_are_unknown_and_foreign_ones_kill() -> None:
    call = "libc = ctypes.CDLL(None, use_errno=True)\nreturn f'{libc.syscall(NUMBER, 0, 0, 0, 0, 0, 0)} {ctypes.get_errno()}'"
    for number in (425, 435, 442, 447, 460):  # io_uring_setup, clone3, mount_setattr, memfd_secret, not there yet
        assert result_of(call, NUMBER=number) == "-1 38"
    assert result_of(call, NUMBER=0x40000000 + 41) == "the program ended"


def test_no_right_is_left() -> None:
    assert result_of("os.setuid(0)\nreturn 'escaped'") in ("PermissionError", "OSError")
    assert result_of("os.chroot('.')\nreturn 'escaped'") == "PermissionError"
    assert result_of("socket.sethostname('x')\nreturn 'escaped'") == "PermissionError"
    assert (
        result_of("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))\nreturn 'escaped'")
        == "ValueError"
    )


# Faked success.

FAKES = {
    "leaves with a good exit code": "import sys\nsys.exit(0)",
    "leaves at once": "import os\nos._exit(0)",
    "leaves in the call": "import os\ndef f(x): os._exit(0)",
    "says that it passed": "print('passed')\ndef f(x): print('[\"passed\", \"\"]')",
    "writes a verdict everywhere": "import os\nfor fd in range(64):\n    try: os.write(fd, b'locked\\n[\"passed\", \"\"]')\n    except OSError: pass\ndef f(x): return 0",
    "answers before it is asked": "import os, json, struct\nraw = json.dumps(['value', ['list', ['value', True]], []]).encode()\nfor fd in range(3, 64):\n    try: os.write(fd, 20 * (struct.pack('>I', len(raw)) + raw))\n    except OSError: pass\ndef f(x): return 0",
    "equals everything": "class Any(int):\n    __eq__ = lambda self, other: True\n    __ne__ = lambda self, other: False\n    __hash__ = int.__hash__\ndef f(x): return Any(0)",
    "equals everything, as no number": "class Any:\n    __eq__ = lambda self, other: True\ndef f(x): return Any()",
    "changes what assert needs": "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\nbuiltins.exec = builtins.compile = builtins.isinstance = lambda *a: True\ndef f(x): return 0",
    "calls itself abs": "def abs(x): return 42\ndef f(x): return 0",
    "does it at exit": "import atexit, os\natexit.register(lambda: os.write(1, b'[\"passed\", \"\"]'))\ndef f(x): return 0",
    "raises success": "def f(x): raise SystemExit(0)",
    "raises the wanted": "def f(x): raise StopIteration(42)",
    "is too large": "def f(x): return [42] * 300_000",
    "is endless": "def f(x):\n    while True: yield 42",
    "is too deep": "def f(x):\n    out = []\n    for _ in range(100_000): out = [out]\n    return out",
    "holds itself": "def f(x):\n    out = []\n    out.append(out)\n    return out",
    "says it is a type that it is not": "import sys\nfor module in list(sys.modules.values()):\n    if hasattr(module, 'pack'): module.pack = lambda value, named: ['type', 'eval']\ndef f(x): return 0",
}  # fmt: skip


@pytest.mark.parametrize("source", FAKES.values(), ids=list(FAKES))
def test_success_cannot_be_faked(source: str) -> None:
    assert run_tests(source, ["assert abs(f(6)) == 42"], limits=QUICK).result == "failed"
    assert left_over() == []


def test_a_standard_module_in_a_test_is_pythons_own_whatever_the_program_calls_so() -> None:
    test = ["assert math.isclose(f(6), 42)"]
    fake = "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(x): return 0"
    assert run_tests(fake, test).result == "failed"
    assert run_tests("import math\ndef f(x): return 42", test) == Verdict("passed")
    named = "def bisect(x): return x + 1"
    assert run_tests(named, ["assert bisect(1) == 2"], own=["bisect"]) == Verdict("passed")
    assert run_tests("copy = [1]", ["assert copy == [1]"]) == Verdict("passed")


def test_the_tests_are_nowhere_in_the_programs_process() -> None:
    hunt = """
    import gc
    frame, seen = sys._getframe(), []
    while frame is not None:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    seen += gc.get_objects()
    return str(sum('XYZZY' in text for text in map(repr, seen) if 'hunted' not in text))
    """
    source = f"import sys\ndef hunt():\n    hunted = True\n{hunt}"
    assert run_tests(source, ["assert hunt() == '0', 'X' 'YZZY-93'"], limits=QUICK).result == "passed"


# Where it cannot be locked.


def test_a_machine_that_cannot_lock_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="cannot isolate") as caught:
        run_tests("x = 1", ["assert x == 1"])
    assert "\n" not in str(caught.value)


def test_a_denied_layer_is_an_error_and_no_code_runs(tmp_path: Path) -> None:
    """A process that may make no network of its own, as in a container without that right."""
    code = "from multitask_bench.sandbox.run import why_not; print(why_not())"
    inner = f"echo 0 > /proc/sys/user/max_net_namespaces || exit 77; exec {sys.executable} -c '{code}'"
    found = subprocess.run(["unshare", "-Ur", "sh", "-c", inner], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs the right to deny namespaces to itself")
    assert found.stdout.startswith("code is not run: this machine cannot isolate it (user namespace"), found


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="needs root, to be a user")
def test_an_ordinary_user_can_lock_too() -> None:
    code = (
        "from multitask_bench.sandbox.run import run_tests\n"
        "for body in ('os.fork()', 'os.stat(\"/etc/passwd\")', 'socket.socket()', '1 / 0', 'os.kill(0, 9)'):\n"
        "    print(run_tests(f'import os, socket\\ndef f(): {body}', ['f()']).reason.partition(':')[0])\n"
    )
    found = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", code],
        env={"PYTHONPATH": str(Path(run.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        user=65534,
        group=65534,
        extra_groups=[],
    )
    if "ModuleNotFoundError: No module named 'multitask_bench'" in found.stderr:
        pytest.skip("the checkout is not readable to other users")
    wanted = ["PermissionError", "FileNotFoundError", "PermissionError", "ZeroDivisionError", ""]
    assert found.stdout.split("\n")[:5] == wanted, found.stderr
