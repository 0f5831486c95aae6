"""How XLA compiles in the tests: quickly, not into quick code: tests compile much and compute little."""

from importlib.metadata import version


def flags(asked: str) -> str:
    """XLA_FLAGS for the tests: two devices, so that nothing relies on there being one, and quick compilation.

    What the environment asks for comes last and counts; `make test-slow` asks for the code that users get.
    """
    chosen = ["--xla_force_host_platform_device_count=2"]
    if "xla_backend_optimization_level" not in asked:
        chosen.append("--xla_backend_optimization_level=0")
        # XLA ends a process at a flag that it does not know; jaxlib 0.7.2 to 0.10 know these.
        if tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
            chosen.append("--xla_cpu_use_fusion_emitters=false")
            chosen.append("--xla_llvm_disable_expensive_passes=true")
            # Small programs are not worth cutting into parts that threads compile.
            chosen.append("--xla_cpu_parallel_codegen_split_count=1")
    return " ".join([*chosen, asked])
