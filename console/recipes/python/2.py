from orkestr import Sandbox

steps = ["echo 41 > n", "cat missing", "echo $(($(cat n) + 1))"]  # a model's, one after the other
sandbox = Sandbox.create(template="debian-12", network="restricted")
try:
    for command in steps:
        result = sandbox.exec(command, timeout_seconds=120)
        print(result.exit_code, (result.stdout or result.stderr).strip())
finally:
    sandbox.terminate()
