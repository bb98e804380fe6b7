"""torch.distributed's gloo on the same sums as all_reduce_bench.cpp, measured in the same way: one rank a process under mpirun.

    mpirun -n 2 --bind-to core python all_reduce_gloo.py FILE REPETITIONS MiB ...

FILE is a path that nobody uses: the ranks meet there."""
import os
import statistics
import sys
import time

import torch
import torch.distributed as dist

path, repetitions, sizes = sys.argv[1], int(sys.argv[2]), [int(size) for size in sys.argv[3:]]
rank, ranks = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ["OMPI_COMM_WORLD_SIZE"])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=ranks)
for size in sizes:
    gradient = torch.zeros(size << 18)  # (P)
    rates = []
    for repetition in range(-1, repetitions):  # the first warms up
        gradient.fill_(rank + 1)
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradient)
        seconds = torch.tensor([time.perf_counter() - start], dtype=torch.float64)  # (1)
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        assert gradient.eq(ranks * (ranks + 1) / 2).all(), "the sum is wrong"
        if repetition >= 0:
            rates.append((size << 20) * 1e-9 / seconds.item())
    if rank == 0:
        print(f"{size:6d} MiB gloo {statistics.median(rates):12.2f}", flush=True)
dist.destroy_process_group()
