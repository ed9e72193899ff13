#!/usr/bin/env python3
"""A service that is killed, whose disk fails, whose memory runs out: what it has acknowledged is
there afterwards, whole, and it goes on or says why it does not.

Usage: tests/serve_faults.py [--rounds N] [--disk N] [--memory N] [--seed N] [--at disk:N:COUNT]

--rounds: how often it is killed. --disk, --memory: how many places are tried at which a call fails,
spread over all there are; 0: none. --at: one of those, as the test's name has it.
"""
import argparse
import http.client
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
from service import BUILD, URZA, Service, Tap, blueprint, check_package  # noqa: E402

NO_REPLY = (OSError, http.client.HTTPException)
CACHE_GB = 0.0002  # some 100 small packages
STATUSES = {"VALIDATED": "DEPLOYED", "DEPLOYED": "TESTING", "TESTING": "VALIDATED"}
SAMPLE = 60
NO_MEMORY = 78  # exit status


class World:
    """What clients may rely on. Each client has names and kernels of its own."""

    def __init__(self):
        self.lock = threading.Lock()
        self.width = 0
        self.kernels = {}  # id: statuses that it may have
        self.aliases = {}  # name: kernels that it may name; None: none

    def next_width(self):
        with self.lock:
            self.width += 1
            return self.width


class Worker:
    """One client, that does one thing after the other until its service is gone."""

    def __init__(self, world, service, number, dice):
        self.world, self.client, self.number, self.dice = world, service.client(20), number, dice
        self.own, self.wrong = [], []

    def expect(self, reply, what, *more):
        """Whether it was done."""
        if reply.status in (200, 201):
            return True
        if reply.status != 503 and reply.status not in more:
            self.wrong.append(f"{what}: {reply.status} {reply.body[:300]}")
        return False

    def compile(self):
        strategy = "fast" if self.dice.random() < 0.1 else "emergency"
        reply = self.client.compile(blueprint(self.world.next_width()), strategy)
        if self.expect(reply, "compile"):
            kernel = reply.json()["kernel_id"]
            self.world.kernels[kernel] = {"VALIDATED"}
            self.own.append(kernel)

    def change(self, possible, key, value, ask, *more):
        """A change whose outcome is not known until it was answered."""
        before = possible.get(key, {None})
        possible[key] = before | {value}
        if self.expect(ask(), f"change {key}", *more):
            possible[key] = {value}

    def set_status(self):
        kernel = self.dice.choice(self.own)
        now = self.world.kernels[kernel]
        if len(now) == 1:
            status = STATUSES[next(iter(now))]
            # Conflict: it was evicted.
            self.change(self.world.kernels, kernel, status,
                        lambda: self.client.ask("PATCH", f"/api/v1/kernels/{kernel}",
                                                {"status": status}), 409)

    def set_alias(self):
        name, kernel = f"w{self.number}-{self.dice.randrange(3)}", self.dice.choice(self.own)
        self.change(self.world.aliases, name, kernel,
                    lambda: self.client.ask("PUT", f"/api/v1/aliases/{name}", {"kernel": kernel}),
                    409)

    def drop_alias(self):
        name = f"w{self.number}-{self.dice.randrange(3)}"
        self.change(self.world.aliases, name, None,
                    lambda: self.client.ask("DELETE", f"/api/v1/aliases/{name}"), 404)

    def read(self):
        kernel = self.dice.choice(self.own)
        reply = self.client.ask("GET", f"/kernel/{kernel}")
        if self.expect(reply, "read", 404):
            wrong = check_package(reply.body, kernel)
            if wrong:
                self.wrong.append(f"{kernel}: {wrong}")

    def step(self):
        self.compile()
        if self.own:
            for _ in range(self.dice.randrange(4)):
                self.dice.choice([self.set_status, self.set_alias, self.drop_alias, self.read])()

    def run(self):
        try:
            while True:
                self.step()
        except NO_REPLY:
            pass


# What is there afterwards.

def check_kernel(client, kernel, statuses):
    """What is wrong; None: nothing."""
    reply = client.ask("GET", f"/kernel/{kernel}")
    record = client.ask("GET", f"/api/v1/kernels/{kernel}")
    if record.status != 200:
        return f"{kernel}: its record is lost: {record.status} {record.body[:200]}"
    record = record.json()
    if record["status"] not in statuses:
        return f"{kernel}: is {record['status']}, not one of {statuses}"
    statuses.clear()
    statuses.add(record["status"])
    if reply.status == 200:
        return check_package(reply.body, kernel)
    if reply.status == 404 and not record["object"]:
        if record["status"] == "DEPLOYED":
            return f"{kernel}: was evicted while it was deployed"
        return None
    return f"{kernel}: {reply.status} {reply.body[:200]}, object {record['object']!r}"


def check_alias(client, name, possible):
    reply = client.ask("GET", "/api/v1/aliases?limit=100")
    found = {item["id"]: item["kernel"] for item in next(
        value for value in reply.json().values() if isinstance(value, list))}.get(name)
    if found not in possible:
        return f"alias {name} names {found}, not one of {possible}"
    possible.clear()
    possible.add(found)
    if found and client.ask("GET", f"/kernel/{name}").status != 200:
        return f"alias {name} names {found}, which is not there"
    return None


def check_world(client, world, kernels):
    wrong = [check_kernel(client, kernel, world.kernels[kernel]) for kernel in kernels]
    wrong += [check_alias(client, name, possible) for name, possible in world.aliases.items()]
    return [text for text in wrong if text]


# Kills.

def kill_gc(service, dice):
    """gc of the stopped service, killed at some moment."""
    process = subprocess.Popen([URZA, "gc", "--data", service.data],
                               env={**os.environ, "URZA_MAX_CACHE_SIZE_GB": str(CACHE_GB / 2)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(dice.random() * 0.1)
    process.kill()
    process.wait()


def kill_round(service, world, dice, times):
    """What was wrong."""
    if not service.start():
        return [f"it does not start: {service.log()[-500:]}"]
    times.append(service.started_s)
    known = list(world.kernels)
    sample = known[-SAMPLE // 2:] + dice.sample(known, min(len(known), SAMPLE // 2))
    wrong = check_world(service.client(), world, sample)
    workers = [Worker(world, service, i, random.Random(dice.random())) for i in range(3)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(0.01 + dice.random() * 0.5)
    service.kill()
    for thread in threads:
        thread.join()
    left = service.gone_within(1)
    if left:
        wrong.append(f"processes are left: {left}")
    if dice.random() < 0.2:
        kill_gc(service, dice)
    status, said = service.tool("fsck")
    if status != 0:
        wrong.append(f"fsck: {said}")
    return wrong + [text for worker in workers for text in worker.wrong]


def run_kills(tap, folder, rounds, seed):
    world, dice, times = World(), random.Random(seed), []
    service = Service(folder + "/killed", max_cache_size_gb=CACHE_GB)
    failed = 0
    for i in range(rounds):
        wrong = kill_round(service, world, dice, times)
        failed += bool(wrong)
        for text in wrong[:5]:
            tap.say(f"round {i}: {text}")
        if failed > 5:
            break
    tap.ok(not failed, f"killed {rounds} times, nothing is lost, damaged or left running")
    service.start()
    wrong = check_world(service.client(), world, list(world.kernels))
    tap.ok(not wrong, f"all of {len(world.kernels)} kernels are there or evicted",
           *wrong[:10])
    status = service.stop()
    tap.ok(status == 0, "it stops", status, service.log()[-1000:])
    if times:
        times.sort()
        tap.say(f"restart: {times[len(times) // 2]:.2f} s in the middle, {times[-1]:.2f} s at most")


# Calls that fail.

def fail_environment(plan, report):
    return {"LD_PRELOAD": str(BUILD / "tests" / "libfail_nth.so"), "URZA_FAIL": plan,
            "URZA_FAIL_REPORT": report}


def seed_data(folder):
    """A folder with some kernels, and the world that knows them."""
    world, service = World(), Service(folder + "/seed")
    service.start()
    worker = Worker(world, service, 0, random.Random(1))
    for _ in range(8):
        worker.step()
    service.stop()
    return world


def copy_world(world):
    copy = World()
    copy.width = world.width
    copy.kernels = {key: set(value) for key, value in world.kernels.items()}
    copy.aliases = {key: set(value) for key, value in world.aliases.items()}
    return copy


def script(worker):
    """Whatever fails, the next step is tried."""
    steps = [worker.compile] * 3 + [worker.set_status, worker.set_alias, worker.read,
                                    worker.compile, worker.drop_alias]
    for step in steps:
        if step.__name__ != "compile" and not worker.own:
            continue
        try:
            step()
        except TimeoutError:
            worker.wrong.append(f"{step.__name__}: no reply in time")
        except NO_REPLY:
            pass


def fault_run(folder, seed_world, plan, size):
    """One life with a failing call: what was wrong, whether it started, whether it went on."""
    data, report, kind = folder + "/faulty", folder + "/report", plan.split(":")[0]
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(folder + "/seed", data)
    if os.path.exists(report):
        os.remove(report)
    world = copy_world(seed_world)
    service = Service(data, fail_environment(plan, report), **size)
    wrong, lived = [], False
    started = service.start()
    if started:
        worker = Worker(world, service, 0, random.Random(2))
        script(worker)
        wrong += worker.wrong
        lived = service.process.poll() is None
        status = service.stop() if lived else service.reap()
        if lived and status != 0 and not (kind == "memory" and status == NO_MEMORY):
            wrong.append(f"it stopped with status {status}")
        service.status = status
    if not lived and (service.status <= 0 or
                      not (service.log().strip() or service.status == NO_MEMORY)):
        wrong.append(f"it ended with status {service.status}")
    # The exit status of "out of memory" says it where there is none left to say more.
    if kind == "memory" and not lived and service.status != NO_MEMORY and \
            "emory" not in service.log():
        wrong.append(f"it ended with status {service.status} and does not say why")
    if service.gone_within(1):
        wrong.append(f"processes are left: {service.processes()}")
    if wrong:
        wrong += service.log().splitlines()[-3:]
    status, said = service.tool("fsck")
    if status != 0:
        wrong.append(f"fsck: {said}")
    after = Service(data)
    if after.start():
        wrong += check_world(after.client(), world, list(world.kernels))
        after.kill()
    else:
        wrong.append(f"it does not start again: {after.log()}")
    calls = int(Path(report).read_text()) if os.path.exists(report) else 0
    return wrong, started, lived, calls


def plans_of(kind, tries, calls, data, dice):
    """Calls that fail: alone, or with those that follow; spread, not the same each time."""
    for i in range(tries):
        first = 1 + int((i + dice.random()) * calls / tries)
        count = dice.choice([1, 1, 3, 1000000])
        error = ":" + dice.choice(["ENOSPC", "EIO"]) + f":{data}" if kind == "disk" else ""
        yield f"{kind}:{first}:{count}{error}"


def run_faults(tap, folder, kind, tries, seed, at=None):
    world, dice = seed_data(folder), random.Random(seed)
    size = {"workers": 1, "max_concurrent_compilations": 1}
    data = folder + "/faulty"
    suffix = f":EIO:{data}" if kind == "disk" else ""
    wrong, started, _, calls = fault_run(folder, world, f"{kind}:0:1{suffix}", size)
    tap.ok(started and not wrong and calls > 10, f"{kind}: {calls} calls, none fails", *wrong)
    plans = [at + suffix] if at else plans_of(kind, tries, calls, data, dice)
    refused = went_on = ended = 0
    for plan in plans:
        wrong, started, lived, _ = fault_run(folder, world, plan, size)
        refused += not started
        went_on += lived
        ended += started and not lived
        if wrong:
            name = plan.replace(f":{data}", "")
            tap.ok(False, f"{name}: {'went on' if lived else 'ended' if started else 'refused'}",
                   *wrong[:8])
    tap.ok(True, f"{kind}: {refused} times it refused to start, {went_on} times it went on, "
                 f"{ended} times it ended")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--disk", type=int, default=6)
    parser.add_argument("--memory", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at", help="one place: disk:N:COUNT or memory:N:COUNT")
    options = parser.parse_args()
    folder, tap = tempfile.mkdtemp(prefix="urza-faults-"), Tap()
    tap.say(f"seed {options.seed}")
    try:
        if options.at:
            run_faults(tap, folder, options.at.split(":")[0], 1, options.seed, options.at)
        else:
            if options.rounds:
                run_kills(tap, folder, options.rounds, options.seed)
            if options.disk:
                run_faults(tap, folder, "disk", options.disk, options.seed)
            if options.memory:
                run_faults(tap, folder, "memory", options.memory, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
