"""What the shell runtime costs: exec mode beside a bare start of the program, resident beside exec.

    benches/shell.py DIST SPAWN_FLOOR

DIST is the folder with bin/nuclio and runtimes; SPAWN_FLOOR the program of that name. Prints JSON:
CPU and wall microseconds an event of worker and program together, for one client that waits for
each reply. Nothing is left running.
"""

import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROUNDS = 3
EXEC_EVENTS = 1000
RESIDENT_EVENTS = 30000
LIMIT_S = 60
TICKS = os.sysconf("SC_CLK_TCK")
PLAIN = "#!/bin/sh\necho hello\n"
RESIDENT = '#!/bin/sh\nwhile read -r line; do echo \'{"body":"hello"}\'; done\n'


def ticks(pid, reaped):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11 : 15 if reaped else 13])


def children(pid):
    return [
        int(text) for text in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


def measure(dist, script, config, events):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "function.sh")
        path.write_text(script)
        path.chmod(0o755)
        body = {"apiVersion": "nuclio.io/v1", "kind": "Function", "metadata": {"name": "f"}}
        pathlib.Path(folder, "f.yaml").write_text(json.dumps({**body, "spec": config}))
        env = {"PATH": os.environ["PATH"], "NUCLIO_STATE_DIR": folder, "PORT": "0"}
        argv = [
            f"{dist}/bin/nuclio",
            "run",
            "function.sh",
            "-f",
            "f.yaml",
            "--admin",
            "127.0.0.1:0",
        ]
        with subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE) as processor:
            try:
                line = processor.stdout.readline().decode()
                port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line).group(1))
                return drive(processor.pid, port, events)
            finally:
                processor.terminate()
                processor.wait(LIMIT_S)


def drive(pid, port, events):
    names = {
        child: pathlib.Path(f"/proc/{child}/comm").read_text().strip() for child in children_of(pid)
    }
    worker = next(child for child, name in names.items() if name == "nuclio-shell")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)

    def ask():
        connection.request("GET", "/", headers={"Host": "x"})
        reply = connection.getresponse()
        assert (reply.status, reply.read().strip()) == (200, b"hello"), reply.status

    for _ in range(events // 20):
        ask()
    programs = children(worker)
    before = ticks(worker, True) + sum(ticks(program, True) for program in programs)
    began = time.monotonic()
    for _ in range(events):
        ask()
    wall = time.monotonic() - began
    spent = ticks(worker, True) + sum(ticks(program, True) for program in programs) - before
    connection.close()
    return {
        "cpu_us": round(spent / TICKS / events * 1e6, 2),
        "wall_us": round(wall / events * 1e6, 2),
    }


def children_of(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(text) for text in (task / "children").read_text().split()]
    return found


def floor(program):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "function.sh")
        path.write_text(PLAIN)
        path.chmod(0o755)
        said = subprocess.run(
            [program, str(EXEC_EVENTS), path], capture_output=True, text=True, check=True
        ).stdout
    wall, cpu = re.findall(r"[\d.]+", said)
    return {"cpu_us": float(cpu), "wall_us": float(wall)}


def median(found, key):
    return sorted(one[key] for one in found)[len(found) // 2]


def main(dist, program):
    resident = {"runtimeAttributes": {"mode": "resident"}}
    lean = {"runtimeAttributes": {"mode": "resident", "eventFields": ["body"]}}
    found = {"floor": [], "exec": [], "resident": [], "resident_body_only": []}
    for _ in range(ROUNDS):
        found["floor"].append(floor(program))
        found["exec"].append(measure(dist, PLAIN, {}, EXEC_EVENTS))
        found["resident"].append(measure(dist, RESIDENT, resident, RESIDENT_EVENTS))
        found["resident_body_only"].append(measure(dist, RESIDENT, lean, RESIDENT_EVENTS))
    cpu = {name: median(rounds, "cpu_us") for name, rounds in found.items()}
    found["exec_to_floor"] = round(cpu["exec"] / cpu["floor"], 2)
    found["exec_to_resident"] = round(cpu["exec"] / cpu["resident"], 1)
    found["exec_to_resident_body_only"] = round(cpu["exec"] / cpu["resident_body_only"], 1)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*(str(pathlib.Path(word).resolve()) for word in sys.argv[1:]))
