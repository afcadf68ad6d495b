"""edge.inference.cpu: the tier that stands beside every latency figure."""

from pathlib import Path

import pytest

from edge.inference.cpu import ISA_CAP, TIER_CAPS, CpuError, cpu_tier, read_cpu, require_cpu

AVX512 = "avx2 avx512f avx512bw avx512cd avx512dq avx512vl"
SAPPHIRE_RAPIDS = f"{AVX512} avx512_vnni avx_vnni amx_tile amx_int8"


def cpuinfo(tmp_path: Path, flags: str, key: str = "flags") -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel\t\t: 85\nmodel name\t: A CPU\n{key}\t\t: fpu {flags}\n\nprocessor\t: 1\n")
    return path


@pytest.mark.parametrize(
    ("flags", "tier"),
    [
        (SAPPHIRE_RAPIDS, "AMX"),
        (f"{AVX512} avx512_vnni", "AVX512_VNNI"),
        (f"{AVX512}", "AVX2"),  # AVX-512 without VNNI saturates as AVX2 does
        ("avx2 avx_vnni", "AVX2_VNNI"),
        ("avx2", "AVX2"),
        ("sse4_2", "lower"),
        ("amx_tile amx_int8", "lower"),  # a hypervisor that hides AVX-512 leaves no use of AMX
    ],
)
def test_flags_of_x86_give_the_best_tier(tmp_path: Path, flags: str, tier: str) -> None:
    assert read_cpu(cpuinfo(tmp_path, flags), cap="").tier == tier


@pytest.mark.parametrize(("flags", "tier"), [("asimd asimddp", "ARM64 dotprod"), ("asimd", "ARM64")])
def test_features_of_arm_give_its_tier(tmp_path: Path, flags: str, tier: str) -> None:
    assert read_cpu(cpuinfo(tmp_path, flags, "Features"), cap="").tier == tier


@pytest.mark.parametrize("tier", TIER_CAPS)
def test_each_cap_leaves_the_tier_it_is_named_for(tmp_path: Path, tier: str) -> None:
    cpu = read_cpu(cpuinfo(tmp_path, SAPPHIRE_RAPIDS), cap=TIER_CAPS[tier])
    assert (cpu.tier, cpu.native_tier) == (f"{tier} (capped)", "AMX")


def test_a_cap_to_a_tier_the_cpu_lacks_gives_the_next_lower_one(tmp_path: Path) -> None:
    ice_lake = cpuinfo(tmp_path, f"{AVX512} avx512_vnni")  # has no AVX_VNNI
    assert read_cpu(ice_lake, cap="AVX2_VNNI").tier == "AVX2 (capped)"


@pytest.mark.parametrize("cap", ["DEFAULT", "nonsense", "AVX512_CORE_AMX", ""])
def test_a_value_that_takes_nothing_away_is_not_a_cap(tmp_path: Path, cap: str) -> None:
    assert read_cpu(cpuinfo(tmp_path, SAPPHIRE_RAPIDS), cap=cap).tier == "AMX"


def test_a_cap_above_the_cpu_is_not_a_cap(tmp_path: Path) -> None:
    assert read_cpu(cpuinfo(tmp_path, "avx2"), cap="AVX512_CORE_VNNI").tier == "AVX2"


def test_the_environment_of_onednn_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ISA_CAP, "avx2")  # oneDNN reads it in any case
    assert read_cpu(cpuinfo(tmp_path, SAPPHIRE_RAPIDS)).tier == "AVX2 (capped)"


def test_this_machine_has_a_tier() -> None:
    assert cpu_tier().removesuffix(" (capped)") in read_cpu().tiers


def test_model_features_and_governor_are_reported(tmp_path: Path) -> None:
    governor = tmp_path / "scaling_governor"
    governor.write_text("powersave\n")
    cpu = read_cpu(cpuinfo(tmp_path, "avx2 avx_vnni"), governor, cap="")
    assert (cpu.model, cpu.features, cpu.governor) == ("A CPU", ("avx2", "avx_vnni"), "powersave")
    assert read_cpu(cpuinfo(tmp_path, "avx2"), tmp_path / "none", cap="").governor is None


def test_a_machine_without_cpuinfo_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CpuError, match=r"absent: cannot be read .*Linux") as refused:
        read_cpu(tmp_path / "absent")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("flags", "key"), [("sse4_2 avx", "flags"), ("asimd", "Features")])
def test_a_cpu_without_instructions_for_int8_is_refused_in_one_line(tmp_path: Path, flags: str, key: str) -> None:
    with pytest.raises(CpuError, match=r"this CPU \(A CPU\) has neither AVX2 nor ARM64 dotprod") as refused:
        require_cpu(cpuinfo(tmp_path, flags, key))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "key"), [("avx2", "flags"), (SAPPHIRE_RAPIDS, "flags"), ("asimd asimddp", "Features")]
)
def test_a_cpu_with_avx2_or_dotprod_is_taken(tmp_path: Path, flags: str, key: str) -> None:
    require_cpu(cpuinfo(tmp_path, flags, key))


def test_a_cap_of_the_library_is_no_lack_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_CAP, "SSE41")
    require_cpu(cpuinfo(tmp_path, "avx2"))
