"""The Ray engine on a local cluster of two nodes, where the extra is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stillhouse.engines import start_engine
from stillhouse.errors import EngineError

HAS_RAY = importlib.util.find_spec("ray") is not None

SCRIPT = """
    import json, os, sys, time
    folder = sys.argv[1]
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    from ray.cluster_utils import Cluster
    cluster = Cluster()
    cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    from stillhouse.engines import start_engine
    from stillhouse.errors import EngineError, StillhouseError
    from tests.engines import units
    said = {}
    with start_engine("ray") as engine:
        said["name"], said["workers"] = engine.name, engine.workers
        said["squares"] = list(engine.map(units.square, range(40)))
        said["slow"] = list(engine.map(units.slow_first, range(8)))
        said["none"] = list(engine.map(units.square, []))
        results, got = engine.map(units.refuse_third, range(10)), []
        try:
            for result in results:
                got.append(result)
        except StillhouseError as error:
            said["refused"] = [got, type(error).__name__, str(error)]
        try:
            list(engine.map(units.divide_by, [1, 0]))
        except ZeroDivisionError as error:
            said["bug"] = "divide_by" in str(error)
        said["retried"] = list(engine.map(units.kill_once, [(folder, n) for n in range(4)]))
        engine._tries = 1  # Ray takes long to start a worker anew.
        try:
            list(engine.map(units.kill_myself_at_five, [4, 5]))
        except EngineError as error:
            said["killed"] = str(error)
        taken = []
        def items():
            for number in range(1000):
                taken.append(number)
                yield number
        results = engine.map(units.square, items())
        [next(results) for _ in range(5)]
        said["taken"] = len(taken)
        results.close()
        nodes = engine._ray.nodes()
    said["nodes"] = len(nodes)
    cluster.shutdown()
    print("SAID" + json.dumps(said))
"""


@pytest.mark.ray
@pytest.mark.skipif(not HAS_RAY, reason="the extra stillhouse[ray] is not installed")
def test_a_cluster_of_two_nodes_gives_what_this_process_gives(tmp_path: Path) -> None:
    """Order, errors, lost workers and bounds are those of the other engines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.partition("SAID")[2])
    killed = said.pop("killed")
    assert "ended 1 times" in killed
    assert "--workers" in killed
    assert said == {
        "name": "ray",
        "workers": 2,
        "nodes": 2,
        "squares": [n * n for n in range(40)],
        "slow": list(range(8)),
        "none": [],
        "refused": [[0, 1, 2], "StorageError", "unit 3: no room. Make some."],
        "bug": True,
        "retried": [0, 1, 2, 3],
        "taken": 5 + 2 * 2 - 1,
    }


@pytest.mark.ray
@pytest.mark.skipif(not HAS_RAY, reason="the extra stillhouse[ray] is not installed")
def test_a_cluster_that_does_not_answer_is_told_soon() -> None:
    """A RAY_ADDRESS where nobody listens is one line within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = """
        from stillhouse.engines import start_engine
        from stillhouse.errors import EngineError
        try:
            start_engine("ray")
        except EngineError as error:
            print(error)
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "RAY_ADDRESS": f"127.0.0.1:{port}",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(f"127.0.0.1:{port}: Ray could not be started or joined")
    assert "RAY_ADDRESS" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.skipif(HAS_RAY, reason="the extra stillhouse[ray] is installed")
def test_without_ray_the_way_out_is_told() -> None:
    """Asking for Ray where it is not installed says how to install it."""
    with pytest.raises(EngineError, match=r"stillhouse\[ray\]"):
        start_engine("ray")


def test_naming_ray_costs_nothing_until_it_is_asked_for() -> None:
    """Importing the engines loads no Ray."""
    program = "import sys, stillhouse.engines; sys.exit('ray' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0
