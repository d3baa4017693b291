from orkestr import ExecTimeout, Sandbox

with Sandbox.create(template="debian-12") as sandbox:
    try:
        sandbox.exec("(echo started; sleep 60) > /workspace/log", timeout_seconds=1)
    except ExecTimeout:
        print("exec_timeout")
    print(sandbox.refresh().status, sandbox.files.read("/workspace/log").strip())
