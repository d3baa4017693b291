from orkestr import Sandbox

# A token with no more scopes than it needs, limits asked for once, tight timeouts, and a pause
# instead of waiting.
limits = Sandbox.limits()
sandbox = Sandbox.create(template="debian-12", size=limits.allowed_sizes[0], timeout_seconds=60)
print(sandbox.exec("echo quick", timeout_seconds=5).stdout.strip())
sandbox.pause()
print(str(any(one.id == sandbox.id for one in Sandbox.list(status="paused"))).lower())
sandbox.terminate()
