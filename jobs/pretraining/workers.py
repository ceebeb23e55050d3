"""Ray Train's workers as a config asks for them."""
from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.train.torch import TorchConfig

from jobs.config.sections import Cluster, Elastic


def workers(cluster: Cluster) -> dict[str, Any]:
    """`torch_config` and `scaling_config` of a TorchTrainer: NCCL where the workers have GPUs, else gloo."""
    resources: dict[str, float] = {"CPU": cluster.cpus_per_worker}
    if cluster.gpus_per_worker:
        resources["GPU"] = cluster.gpus_per_worker
    elastic: dict[str, Any] = {}
    if isinstance(cluster.workers, Elastic):
        elastic = {"elastic_resize_monitor_interval_s": cluster.workers.look_every_s}
    return {
        "torch_config": TorchConfig(backend="nccl" if cluster.gpus_per_worker else "gloo", timeout_s=int(cluster.collective_timeout_s)),
        "scaling_config": ScalingConfig(
            num_workers=(cluster.fewest, cluster.most) if cluster.elastic else cluster.most,  # type: ignore[arg-type]  # as in V1 of Train
            use_gpu=cluster.gpus_per_worker > 0,
            resources_per_worker=resources,
            accelerator_type=cluster.accelerator_type,
            **elastic,
        ),
    }
