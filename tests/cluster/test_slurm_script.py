"""The Slurm script: what it would run, read from its dry run, and what sbatch is asked for."""
from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.cluster.tree import CLUSTER, PAGES, ROOT, typed_in

SCRIPT = CLUSTER / "slurm.sbatch"
TEXT = SCRIPT.read_text()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "ADACROSSNET_", "MLFLOW_", "RAY_"))}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env={**kept, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=30)


def dry(*arguments: str, **environment: str) -> list[str]:
    done = run(*arguments, ADACROSSNET_DRY_RUN="1", **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_is_shell() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_one_head_and_a_worker_on_each_further_node_then_the_pipeline(nodes: int) -> None:
    said = dry("configs/quickstart.yaml", SLURM_JOB_NUM_NODES=str(nodes), SLURM_JOB_ID="417")
    heads = [line for line in said if "ray start --head" in line]
    workers = [line for line in said if "ray start" in line and "--head" not in line]
    assert (len(heads), len(workers)) == (1, nodes - 1)
    places = [re.search(r"--nodelist=(\S+)", line) for line in (*heads, *workers)]
    assert [place[1] for place in places if place] == [f"node{number}" for number in range(1, nodes + 1)]
    assert said[-1].startswith("adacrossnet run configs/quickstart.yaml ")
    assert said[-2] == f"python -m cluster.wait_for_nodes http://node1:30417 {nodes}", "all nodes are there before the pipeline starts"


def test_workers_join_the_heads_address_and_everything_blocks_under_srun() -> None:
    said = dry("configs/quickstart.yaml", SLURM_JOB_NUM_NODES="3", SLURM_JOB_ID="12345", SLURM_CPUS_PER_TASK="16", SLURM_GPUS_ON_NODE="4")
    head, *workers = [line for line in said if "ray start" in line]
    assert "--port=22345 " in head
    assert "--dashboard-port=32345 " in head
    assert all("--address=node1:22345 " in line for line in workers)
    for line in (head, *workers):
        assert line.startswith("srun --nodes=1 --ntasks=1 ")
        assert line.endswith(" &")
        assert " --block" in line
        assert "--cpus-per-task=16" in line
        assert "--num-cpus=16 --num-gpus=4" in line


def test_arguments_go_on_to_the_pipeline_and_win_over_its_own() -> None:
    said = dry("configs/adacrossnet.yaml", "--set", "cluster.workers=8")
    storage = r"--set cluster.storage=\S+/runs/slurm-1/storage"
    assert re.fullmatch(rf"adacrossnet run configs/adacrossnet.yaml {storage} --set cluster.workers=8", said[-1])


def test_a_dry_run_leaves_nothing(tmp_path: os.PathLike[str]) -> None:
    dry("configs/quickstart.yaml", ADACROSSNET_HOME=str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_outside_slurm_it_says_what_it_needs() -> None:
    done = run("configs/quickstart.yaml", MLFLOW_TRACKING_URI="http://mlflow:5000")
    assert done.returncode != 0
    assert "SLURM_JOB_ID" in done.stderr
    assert "ADACROSSNET_DRY_RUN=1" in done.stderr


def test_without_mlflow_it_says_what_it_needs() -> None:
    done = run("configs/quickstart.yaml", SLURM_JOB_ID="1")
    assert done.returncode != 0
    assert "MLFLOW_TRACKING_URI" in done.stderr


def test_without_a_config_it_says_how_it_is_called() -> None:
    done = run(ADACROSSNET_DRY_RUN="1")
    assert done.returncode == 2
    assert "usage: sbatch cluster/slurm.sbatch CONFIG" in done.stderr


def test_sbatch_is_asked_to_queue_it_again_and_to_warn_the_script() -> None:
    directives = re.findall(r"^#SBATCH (\S+)", TEXT, re.MULTILINE)
    assert {"--requeue", "--signal=B:USR1@300", "--open-mode=append", "--ntasks-per-node=1", "--exclusive"} <= set(directives)
    first = TEXT.index("set -euo pipefail")
    assert all(TEXT.index(f"#SBATCH {one}") < first for one in directives), "sbatch reads no directive after the first command"


def test_the_page_shows_the_calls_that_there_are() -> None:
    commands = typed_in(PAGES / "slurm.md")
    assert "ADACROSSNET_DRY_RUN=1 bash cluster/slurm.sbatch configs/quickstart.yaml" in commands
    assert re.search(r"^sbatch .*cluster/slurm\.sbatch configs/quickstart\.yaml", commands, re.MULTILINE)
