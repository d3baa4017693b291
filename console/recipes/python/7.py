from concurrent.futures import ThreadPoolExecutor

from orkestr import PlanLimitError, Sandbox

most = Sandbox.limits().max_concurrent


def work(number: int) -> Sandbox:
    sandbox = Sandbox.create(template="debian-12")
    sandbox.exec(f"echo $(({number} * 2))")
    return sandbox


with ThreadPoolExecutor(most) as pool:
    made = list(pool.map(work, range(most)))
print("all done")
try:
    Sandbox.create(template="debian-12")
except PlanLimitError:
    print("one more is too many")
for sandbox in made:
    sandbox.terminate()
