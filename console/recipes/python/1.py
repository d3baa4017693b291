from orkestr import Sandbox

code = "print(sum(range(101)))"
with Sandbox.create(template="python-3.12") as sandbox:
    sandbox.files.write("/workspace/main.py", code)
    result = sandbox.exec("python3 main.py")
    print(result.stdout if result.exit_code == 0 else result.stderr, end="")
# and the sandbox is gone
