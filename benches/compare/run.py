#!/usr/bin/env python3
"""What a request costs in CPU time: the gateway beside nginx (Debian's nginx-light) doing the same, in one run.

    run.py [--gateway target/release/sluicegate] [--scenarios plain,policies] [--rounds 5] [--seconds 2]
    run.py --gateway OLD --gateway NEW   two builds in one run
    run.py --idle            memory of idle keep-alive connections instead
    run.py --peer NAME=COMMAND   another proxy; {PORT}, {BACKEND} are filled in (it joins `plain` only)

The proxy has core 0 and one worker; the backend and the load (wrk, 32 keep-alive connections) have core 1. The
figure is the proxy's user + system time from /proc/PID/stat over the requests that wrk counted. All peers of a
scenario run at once and take turns. Compare ratios within one run, never microseconds between runs.
Needs: apt-get install nginx-light wrk. Talks to 127.0.0.1 only, and ends only what it started.
"""
import argparse
import hashlib
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
WORK = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-compare-"))
TICK = os.sysconf("SC_CLK_TCK")
KEY = {"X-Api-Key": "key7"}
SCENARIOS = {
    "plain": ({"nolog"}, {}, 200),
    "plain+log": ({"log", "forwarded"}, {}, 200),
    "headers": ({"nolog", "headers"}, {}, 200),
    "policies": ({"nolog", "headers", "limit", "apikey"}, KEY, 200),
    "policies+log": ({"log", "headers", "limit", "apikey", "forwarded"}, KEY, 200),
    "reject": ({"nolog", "headers", "reject"}, KEY, 429),
}


def fill(name, features, words):
    out = []
    for line in (HERE / name).read_text().splitlines():
        marker = re.search(r"\s*#\?(\w+)\s*$", line)
        if marker:
            if marker[1] not in features:
                continue
            line = line[: marker.start()]
        out.append(line)
    text = "\n".join(out) + "\n"
    for word, value in words.items():
        text = text.replace("{{%s}}" % word, str(value))
    return text


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spawn(command, core, port, log):
    def prepare():
        os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))

    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, preexec_fn=prepare)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit(f"{' '.join(map(str, command))} did not start: see {log.name}")


def family(root):
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path(f"/proc/{entry}/stat").read_text()
                parents[int(entry)] = int(text[text.rindex(")") + 2 :].split()[1])
            except OSError:
                pass
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu(root):
    total = 0
    for pid in family(root):
        try:
            text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(root):
    total = 0
    for pid in family(root):
        found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
        total += int(found[1]) if found else 0
    return total


class Peer:
    def __init__(self, name, command, backend, features, is_gateway=False):
        self.name, self.port = name, free_port()
        directory = WORK / f"peer-{self.port}"
        directory.mkdir()
        directory.chmod(0o777)
        # Apart from the configuration, which the gateway watches.
        (directory / "log").mkdir()
        (directory / "log").chmod(0o777)
        digests = ", ".join(f'"sha256:{hashlib.sha256(f"key{n}".encode()).hexdigest()}"' for n in range(10))
        words = {"PORT": self.port, "ADMIN": free_port(), "BACKEND": backend, "DIR": directory, "DIGESTS": digests}
        if name == "nginx":
            (directory / "nginx.conf").write_text(fill("nginx.conf", features, words))
            command = ["nginx", "-c", str(directory / "nginx.conf")]
        elif is_gateway:
            for file in ("gateway.toml", "bench.toml"):
                (directory / file).write_text(fill(file, features, words))
            command = [command, "run", str(directory)]
        else:
            command = command.format(PORT=self.port, BACKEND=backend).split()
        self.log = open(directory / "output", "w")
        self.process = spawn(command, 0, self.port, self.log)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def ask(port, path, headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def check(peer, features, headers, status):
    """Does the peer do the scenario's work?"""
    if status != 200:
        answers = [ask(peer.port, "/api/echo", headers)[0] for _ in range(3)]
        assert answers[-1] == status, f"{peer.name}: {answers} where {status} was due"
        return
    code, body = ask(peer.port, "/api/echo", headers)
    want = "GET /echo bench" if "headers" in features else "GET /"
    assert code == 200 and body.startswith(want), f"{peer.name}: {code} {body!r}"
    if "apikey" in features:
        for bad in ({}, {"X-Api-Key": "nobody"}):
            code = ask(peer.port, "/api/echo", bad)[0]
            assert code == 401, f"{peer.name}: a wrong key gets {code}"


def load(port, headers, seconds, status):
    flags = [flag for name, value in headers.items() for flag in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", *flags, f"http://127.0.0.1:{port}/api/1k"]
    out = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {1})).stdout
    done = int(re.search(r"(\d+) requests in", out)[1])
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    wrong = int(wrong[1]) if wrong else 0
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    wrong = (done - wrong if status != 200 else wrong) + (sum(map(int, errors.groups())) if errors else 0)
    return done, wrong


def measure(name, peers, rounds, seconds):
    features, headers, status = SCENARIOS[name]
    for peer in peers:
        check(peer, features, headers, status)
        load(peer.port, headers, 1, status)
    costs = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            before = cpu(peer.process.pid)
            done, wrong = load(peer.port, headers, seconds, status)
            assert wrong * 1000 <= done, f"{peer.name}: {wrong} of {done} answers are wrong"
            costs[peer.name].append((cpu(peer.process.pid) - before) / done * 1e6)
    base = statistics.median(costs["nginx"])
    for peer in peers:
        cost = costs[peer.name]
        middle = statistics.median(cost)
        print(f"| {name} | {peer.name} | {middle:.1f} µs | {min(cost):.1f}–{max(cost):.1f} | {middle / base:.2f} |", flush=True)


def idle(gateway, backend):
    peer = Peer("sluicegate", gateway, backend, {"nolog"}, True)
    time.sleep(0.5)
    print(f"idle process: {memory(peer.process.pid) / 1024:.1f} MiB")
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    for count in (1000, 9500):
        before, held = memory(peer.process.pid), []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", peer.port))
            connection.sendall(b"GET /api/1k HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(connection)
            answer = b""
            while len(answer) < 1024:
                answer += connection.recv(4096)
        time.sleep(0.5)
        grown = memory(peer.process.pid) - before
        print(f"{count} idle connections: {grown / count:.1f} KiB each")
        for connection in held:
            connection.close()
        time.sleep(0.5)
    peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", action="append")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    options.gateway = options.gateway or [str(HERE.parent.parent / "target/release/sluicegate")]
    directory = WORK / "backend"
    directory.mkdir()
    directory.chmod(0o777)
    WORK.chmod(0o755)
    backend = free_port()
    conf = directory / "backend.conf"
    conf.write_text(fill("backend.conf", set(), {"DIR": directory, "BACKEND": backend, "KIB": "x" * 1024}))
    serving = spawn(["nginx", "-c", str(conf)], 1, backend, open(directory / "log", "w"))
    running = []
    try:
        if options.idle:
            for gateway in options.gateway:
                idle(gateway, backend)
            return
        print("| scenario | proxy | CPU per request | range | ÷ nginx |\n|---|---|---:|---:|---:|")
        for name in options.scenarios.split(","):
            features = SCENARIOS[name][0]
            running = [Peer("nginx", None, backend, features)]
            for number, gateway in enumerate(options.gateway):
                running.append(Peer("sluicegate" if number == 0 else gateway, gateway, backend, features, True))
            if name == "plain":
                running += [Peer(*peer.split("=", 1), backend, set()) for peer in options.peer]
            measure(name, running, options.rounds, options.seconds)
            for peer in running:
                peer.stop()
            running = []
    finally:
        for peer in running:
            peer.stop()
        serving.terminate()
        serving.wait()
        shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
