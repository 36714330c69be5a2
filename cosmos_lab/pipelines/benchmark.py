"""What a clip costs: seconds by stage, seconds until a model is there, peak memory."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from time import perf_counter

import torch

from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.tables import Table

PROMPT = "a red ball rolls across a wooden floor and hits a blue box"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of the quickest of several runs, by stage, and peak memory in MiB: of the process, or of the GPU."""

    machine: str
    dtype: str
    num_steps: int
    guidance: float
    loading: float
    stages: dict[str, float]
    peak_mib: float

    @property
    def clip(self) -> float:
        """Seconds from prompt to pixel frames."""
        return sum(self.stages.values())

    def table(self) -> Table:
        stages = tuple((stage, f"{seconds:.2f} s") for stage, seconds in self.stages.items())
        rows = (
            ("machine", self.machine),
            ("network in", f"{self.dtype}, {self.num_steps} steps, guidance {self.guidance:g}"),
            *stages,
            ("clip, all stages", f"{self.clip:.2f} s"),
            ("imports and loading", f"{self.loading:.2f} s"),
            ("peak memory", f"{self.peak_mib:.0f} MiB"),
        )
        return Table(("what", "measured"), rows)


def benchmark(pipe: Pipeline, *, runs: int = 3, num_steps: int | None = None, progress: bool = True) -> Cost:
    """Generate the same clip several times after a short warm-up; the quickest counts, as others only disturb it.

    It is made in one try: how many a critic would ask for depends on the clip.
    Raises ValueError for less than one run.
    """
    if runs < 1:
        raise ValueError(f"runs is a whole number from 1 on, not {runs}")
    pipe.text2world(PROMPT, num_steps=1, tries=1, progress=False)
    if pipe.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(pipe.device)
    clips = [pipe.text2world(PROMPT, num_steps=num_steps, tries=1, progress=progress) for _ in range(runs)]
    quickest = min(clips, key=lambda clip: sum(clip.timing.values()))
    settings = quickest.provenance["settings"]
    return Cost(
        machine=machine(pipe.device), dtype=quickest.provenance["dtype"], num_steps=settings["num_steps"],
        guidance=settings["guidance"], loading=loading_seconds(pipe), stages=dict(quickest.timing),
        peak_mib=peak_memory(pipe.device),
    )  # fmt: skip


def loading_seconds(pipe: Pipeline) -> float:
    """Seconds that a new Python process needs until the model is loaded, less those of an empty process."""
    program = f"import cosmos_lab as lab; lab.load({pipe.name!r}, device={str(pipe.device)!r})"
    seconds = []
    for code in ("pass", program):
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        seconds.append(perf_counter() - begin)
    return seconds[1] - seconds[0]


def machine(device: torch.device) -> str:
    """GPU, or processor with its number of usable cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {torch.get_num_threads()} threads on {cores} cores"


def peak_memory(device: torch.device) -> float:
    """MiB: of the GPU since its counter was reset, or of this process since it began (0 where nothing tells)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _processor() -> str:
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
