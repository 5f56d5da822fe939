"""The commands that start a run on several GPUs or machines; it starts nothing itself."""

from __future__ import annotations

import shlex

from finetune.budget import net_of
from finetune.config import TuneConfig, flags, pace

HOST, PORT = "HOST_OF_NODE_0", 29500


def told(config: TuneConfig) -> str:
    """Return the commands by torchrun and by accelerate, one for each machine, and one for Slurm."""
    several = config.nodes * config.devices > 1
    words = flags(config)
    if several and "--deepspeed" not in words:
        weights = 0 if config.preset else net_of(config.model).weights  # a preset that is named needs no checkpoint
        words += ["--deepspeed", pace(config, weights).deepspeed]
    run = f"-m finetune {shlex.join(words)}"
    place = HOST if config.nodes > 1 else "127.0.0.1"
    lines = ["# torchrun: one line on each machine; all see the same folders"]
    lines += [f"torchrun --nnodes {config.nodes} --node-rank {rank} --nproc-per-node {config.devices} "
              f"--master-addr {place} --master-port {PORT} {run}" for rank in range(config.nodes)]
    lines += ["", "# the same by accelerate"]
    start = f"accelerate launch{' --multi_gpu' if several else ''} --num_machines {config.nodes}"
    lines += [f"{start} --machine_rank {rank} --num_processes {config.nodes * config.devices} "
              f"--main_process_ip {place} --main_process_port {PORT} "
              f"--mixed_precision bf16 --dynamo_backend no {run}" for rank in range(config.nodes)]
    if config.nodes > 1:
        lines += ["", "# the same by Slurm, inside an allocation of these machines",
                  f"srun --nodes {config.nodes} --ntasks-per-node 1 torchrun --nnodes {config.nodes} --nproc-per-node "
                  f"{config.devices} --rdzv-backend c10d --rdzv-endpoint $(scontrol show hostnames | head -n 1):{PORT} "
                  f"{run}"]
    return "\n".join(lines) + "\n"
