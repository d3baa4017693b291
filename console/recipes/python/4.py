from orkestr import Sandbox

sandbox = Sandbox.create(template="debian-12", timeout_seconds=3600)
sandbox.exec("echo kept > file; nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid")
sandbox_id = sandbox.pause()  # the meter stops

# Later, in another process that knows the id:
again = Sandbox.resume(sandbox_id)
print(again.exec("cat file; kill -0 $(cat pid) && echo runs").stdout, end="")
again.terminate()
