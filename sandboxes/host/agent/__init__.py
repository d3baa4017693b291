"""The agent, PID 1 of every sandbox: its C source, its build, the host's side of its protocol."""
