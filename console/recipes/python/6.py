from orkestr import Sandbox

with Sandbox.create(template="debian-12") as sandbox:
    for chunk in sandbox.exec_stream("for i in 1 2 3; do echo step $i; sleep 0.2; done"):
        print(f"exit {chunk.exit_code}" if chunk.is_final else chunk.data.strip())
    for chunk in sandbox.exec_stream("echo $$ > pid; echo begun; sleep 60"):
        print(chunk.data.strip())
        break  # the command runs on, to its own timeout
    print("runs on" if sandbox.exec("kill -0 $(cat pid)").exit_code == 0 else "gone")
