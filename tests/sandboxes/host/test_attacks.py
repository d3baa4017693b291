"""What a program in a sandbox may try on the machine, on its neighbours and on its own agent."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from tests.sandboxes.host.hosting import ACTOR, Make, Sandboxed

MIB = 1024 * 1024

#: Every file by which a control group is steered, and what would loosen it.
ESCAPES = """
tries=0
for dir in $(find /sys/fs/cgroup -type d 2>/dev/null); do
  for pair in release_agent:/tmp/x notify_on_release:1 cgroup.procs:1 tasks:1 cgroup.type:threaded \
      cgroup.subtree_control:-memory cgroup.freeze:1 cgroup.kill:1 memory.max:max memory.high:max \
      memory.limit_in_bytes:-1 memory.oom_control:1 pids.max:max cpu.max:max cpu.cfs_quota_us:-1 \
      'devices.allow:a *:* rwm' freezer.state:FROZEN; do
    file="$dir/${pair%%:*}"; tries=$((tries+1))
    if (printf '%s' "${pair#*:}" > "$file") 2>/dev/null; then echo "wrote $file"; fi
  done
  if mkdir "$dir/mine" 2>/dev/null; then echo "made $dir/mine"; fi
done
for kind in cgroup cgroup2; do
  mkdir -p /tmp/cg; if mount -t $kind none /tmp/cg 2>/dev/null; then echo "mounted $kind"; fi
done
if [ -w /proc/sys/kernel/core_pattern ]; then
  (echo '|/tmp/x' > /proc/sys/kernel/core_pattern) 2>/dev/null && echo "wrote core_pattern"
fi
echo "done"
"""

#: Calls itself what the agent is called and answers, on every socket of its kind that it can make,
#: with a frame that announces four gigabytes.
PRETENDER = r"""
import os, pathlib, socket, struct, sys, threading
pathlib.Path("/proc/self/comm").write_text(".agent")
names = sys.argv[1:] + ["\0" + name for name in sys.argv[1:]] + ["\0.agent", "/tmp/agent.sock"]
def answer(sock):
    while True:
        peer, _ = sock.accept()
        pathlib.Path("/tmp/fooled").touch()
        peer.sendall(struct.pack("<IB", 0xFFFFFFFF, 68) + b"x" * 4096)
made = 0
for name in names:
    sock = socket.socket(socket.AF_UNIX)
    try:
        if not name.startswith("\0"):
            os.makedirs(os.path.dirname(name), exist_ok=True)
        sock.bind(name)
    except OSError:
        continue
    sock.listen(64)
    made += 1
    threading.Thread(target=answer, args=(sock,), daemon=True).start()
for number in range(3, 64):
    try:
        os.kill(1, 0)
        socket.socket(fileno=os.open(f"/proc/1/fd/{number}", os.O_RDWR))
        print("took a descriptor of the agent", flush=True)
    except OSError:
        pass
print("ready", made, flush=True)
threading.Event().wait()
"""

HANDLES = r"""
import os, resource, sys
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error.errno == 24, len(held), resource.getrlimit(resource.RLIMIT_NOFILE)[1], flush=True)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
    print("raised")
except (OSError, ValueError):
    print("held")
sys.stdin.read()
"""


async def answers(sandbox: Sandboxed) -> None:
    """As a neighbour that nothing has happened to: at once, with files and processes."""
    began = time.monotonic()
    text = "echo text > /workspace/f && cat /workspace/f && sh -c 'exit 0' && ls /proc/self/fd"
    assert (await sandbox.output(text)).startswith("text\n")
    assert time.monotonic() - began < 10


async def test_no_file_of_a_control_group_can_be_written(make_sandbox: Make) -> None:
    sandbox, neighbour = await make_sandbox(), await make_sandbox()
    pattern = core_pattern()
    assert await sandbox.output(ESCAPES) == "done\n"
    assert core_pattern() == pattern
    outcome = await sandbox.exec("head -c 1G /dev/zero | tail", timeout_seconds=60)
    assert outcome.exit_code != 0 or outcome.signal, "its memory is limited as before"
    await answers(neighbour)


async def test_a_program_that_pretends_to_be_the_agent_fools_nobody(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare")
    neighbour = await make_sandbox()
    places = sandbox.host.places.agents.iterdir()
    names = " ".join([*(str(path) for path in places), "/run/agent.sock", "/.agent.sock"])
    await sandbox.host.client.write_file(
        sandbox.id, "/tmp/agent.py", PRETENDER.encode(), actor=ACTOR
    )
    await sandbox.output(
        f"(python3 /tmp/agent.py {names} > /tmp/agent.log 2>&1 &); "
        "until grep -q ready /tmp/agent.log; do sleep 0.02; done"
    )
    told = (await sandbox.output("cat /tmp/agent.log")).split()
    assert told[0] == "ready"
    assert int(told[1]) > 2, "it has sockets of those names"
    await sandbox.exec("kill -9 1; kill -9 -1; pkill -9 -x .agent")
    for each in (sandbox, neighbour):
        await answers(each)
    assert await sandbox.output("ls /tmp/fooled 2>/dev/null || echo nobody") == "nobody\n"
    kinds = [event.kind for event in sandbox.host.events(sandbox.id)]
    assert "sandbox.failed" not in kinds


async def test_as_many_files_as_there_can_be_are_its_own_trouble(make_sandbox: Make) -> None:
    filler, neighbour = await make_sandbox(disk_mb=64), await make_sandbox()
    before = os.statvfs(filler.host.directory).f_favail
    said = await filler.fails(
        "mkdir -p /workspace/many && cd /workspace/many && "
        'for n in $(seq 400); do touch $(seq -f "$n-%g" 500) || exit 1; done'
    )
    assert "No space left" in said
    event = filler.host.until_event(filler.id, "limit.hit")
    assert event.data["limit"] == "files"
    assert "as many files" in event.data["detail"]
    assert before - os.statvfs(filler.host.directory).f_favail < 10_000
    await answers(neighbour)
    await filler.output("rm -rf /workspace/many && echo again > /workspace/f")


async def test_open_files_end_with_the_process_that_opens_them(make_sandbox: Make) -> None:
    hog, neighbour = await make_sandbox(template="python-3.12-bare"), await make_sandbox()
    await hog.host.client.write_file(hog.id, "/tmp/hog.py", HANDLES.encode(), actor=ACTOR)
    said = await hog.output(
        "for n in 1 2 3 4; do (sleep 600 | python3 /tmp/hog.py > /tmp/log.$n 2>&1 &); done; "
        "until [ $(cat /tmp/log.* | wc -l) = 8 ]; do sleep 0.05; done; cat /tmp/log.1"
    )
    full, held = said.splitlines()
    assert full.startswith("True ")
    assert held == "held", "no process raises its own limit"
    await answers(neighbour)
    await answers(hog)
    await hog.exec("pkill -9 python3; pkill -9 sleep")


async def test_output_at_full_speed_slows_its_writer_and_nobody_else(make_sandbox: Make) -> None:
    loud, neighbour = await make_sandbox(), await make_sandbox()
    process = loud.host.process
    assert process is not None
    before = resident(process.pid)
    shouting = [
        asyncio.ensure_future(loud.exec("timeout 3 yes full speed", timeout_seconds=20))
        for _ in range(3)
    ]
    most, asked = before, 0
    while not all(task.done() for task in shouting):
        await answers(neighbour)
        most, asked = max(most, resident(process.pid)), asked + 1
    outcomes = await asyncio.gather(*shouting)
    assert asked > 3
    written = sum(len(outcome.stdout) + outcome.stdout_dropped for outcome in outcomes)
    assert written > 4 * MIB
    assert most - before < 256 * MIB, "what three callers are answered, and no more"
    await loud.terminate()
    loud.host.until_event(loud.id, "sandbox.terminated")
    events = loud.host.events(loud.id)
    exits = [event for event in events if event.kind == "command.exited"]
    assert len(exits) == 3
    shown = sum(len(e.data["text"]) for e in events if e.kind == "command.output")
    assert shown < 32 * MIB
    told = [event.data for event in events if event.data.get("dropped")]
    assert told, "the timeline says how much it left out"


async def test_a_killed_agent_takes_its_sandbox_and_no_other(make_sandbox: Make) -> None:
    victim, neighbour = await make_sandbox(), await make_sandbox()
    os.kill(victim.host.init_pid(victim.id), 9)
    event = await asyncio.to_thread(victim.host.until_event, victim.id, "sandbox.failed")
    assert event.data["reason"] == "killed"
    await answers(neighbour)


def core_pattern() -> str:
    """What this machine does with a process that crashes."""
    return Path("/proc/sys/kernel/core_pattern").read_text()


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
