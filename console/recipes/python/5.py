import json

from orkestr import Sandbox

script = """
import csv, json
rows = list(csv.DictReader(open("sales.csv")))
json.dump({"total": sum(int(row["amount"]) for row in rows)}, open("out.json", "w"))
"""
with Sandbox.create(template="python-3.12") as sandbox:
    sandbox.files.write("/workspace/sales.csv", "name,amount\na,40\nb,2\n")
    sandbox.files.write("/workspace/sum.py", script)
    sandbox.exec("python3 sum.py")
    print(json.loads(sandbox.files.read("/workspace/out.json"))["total"])
