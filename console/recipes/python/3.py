from orkestr import Sandbox

with Sandbox.create(template="python-3.12-bare", network="restricted") as sandbox:
    installed = sandbox.exec("pip install --quiet requests", timeout_seconds=120)
    print("pip", installed.exit_code)
    other = "import requests; requests.get('https://not-listed.example.org/')"
    refused = sandbox.exec(f'python3 -c "{other}"')
    print("elsewhere", "refused" if "403" in refused.stderr else refused.stderr)
