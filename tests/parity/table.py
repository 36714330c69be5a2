"""The table of parity: every model against its official key list, the recorded tensors, diffusers and an H200.

    PYTHONPATH=tests python tests/parity/table.py        writes assets/parity.json and assets/parity.md

Errors are the largest absolute difference over the largest absolute value, in float32 on a CPU. Golden files and
diffusers' pipelines are of tiny networks, so that models of one architecture share them. The columns of the H200 are
read from assets/benchmarks, which `python -m cosmos_lab benchmark --random_weights` writes.
"""

import json
import tempfile
from pathlib import Path

import torch
from diffusion.test_solvers import PREDICT1_RUNS, predict1_run, predict2_denoiser
from golden_files import read_golden, read_manifest, relative_error
from nn.test_dit_golden import CASES as DIT_CASES
from nn.test_dit_golden import deviation
from parity.test_pipelines import CASES, deviations, peers_in
from runtime.test_matching import DIFFUSERS, OFFICIAL, expected, on_meta

from cosmos_lab import catalog
from cosmos_lab.diffusion import (
    EDM,
    Flow,
    Guidance,
    ab2,
    flow_karras,
    flow_shifted,
    karras,
    make_denoiser,
    sample,
    unipc,
)
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.dit_configs import DIT_CONFIGS
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.noise import official
from cosmos_lab.runtime.key_maps import dit_key_from_diffusers
from cosmos_lab.runtime.matching import check, without_prefix
from cosmos_lab.runtime.official import _our_names
from cosmos_lab.runtime.tokenizer_keys import (
    cosmos_latent_statistics,
    wan_vae_from_diffusers,
    wan_vae_from_official,
    wavelet_vae_from_diffusers,
    wavelet_vae_from_official,
)
from cosmos_lab.tables import Table

ROOT = Path(__file__).parents[2]
COMMAND = "PYTHONPATH=tests python tests/parity/table.py"
# What each DiT is compared with: its golden file, its golden sampler, diffusers' pipelines.
PEERS = {
    "predict1-text2world": ("predict1_dit_t2w_tiny", "predict1", ("cosmos1_text2world",)),
    "predict1-video2world": ("predict1_dit_v2w_tiny", "predict1", ("cosmos1_video2world",)),
    "predict2-text2image": ("predict2_dit_t2i_tiny", "predict2", ("cosmos2_text2image",)),
    "predict2-video2world": ("predict2_dit_v2w_tiny", "predict2", ("cosmos2_video2world",)),
    "predict2.5": ("predict2_5_dit_tiny", "predict2.5", ("cosmos2_5_predict",)),
}
TOKENIZERS = {"wan2.1-vae": ("cosmos2_text2image", "cosmos2_video2world", "cosmos2_5_predict"),
              "cosmos-cv8x8x8": ("cosmos1_text2world", "cosmos1_video2world")}  # fmt: skip


def measured() -> list[dict]:
    """A row for each network."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        peers = peers_in(Path(folder))
        against = {name: deviations(*peers(case.kind), case) for name, case in CASES.items()}
        rows = [_transformer(model, against) for model in OFFICIAL.values()]
        return rows + [_tokenizer(name, against) for name in TOKENIZERS]


def _transformer(model: str, against: dict) -> dict:
    family = model if model in PEERS else "-".join(part for part in model.split("-") if not part[0].isdigit())
    golden, sampler, kinds = PEERS[family]
    (manifest,) = (name for name, owner in OFFICIAL.items() if owner == model)
    theirs = next((name for name, owner in DIFFUSERS.items() if owner == model), None)
    return {
        "model": model,
        "parameters": sum(p.numel() for p in _on_meta(lambda: DiT(DIT_CONFIGS[model]())).parameters()),
        "official keys": _official_keys(manifest),
        "diffusers keys": None if theirs is None else _diffusers_keys(theirs),
        "golden error": max(deviation(*case) for case in DIT_CASES if case[0] == golden),
        "golden sampler error": SAMPLERS[sampler](),
        "diffusers latents error": max(against[name][0] for name, case in CASES.items() if case.kind in kinds),
        "diffusers pixels error": None,
    }


def _official_keys(manifest: str) -> str:
    """How many keys of the official file became parameters, how many carry no weights, and of how many."""
    keys = read_manifest(manifest)
    logvar = {key: torch.empty(shape, device="meta") for key, shape in keys.items() if key.startswith("logvar.")}
    net = {key: value for key, value in on_meta(manifest, "net.").items() if not key.startswith("net.logvar.")}
    state = _our_names(without_prefix(net | logvar, manifest))
    check(expected(lambda: DiT(DIT_CONFIGS[OFFICIAL[manifest]]())), state, manifest)
    return f"{len(state)} + {len(keys) - len(state)} without weights of {len(keys)}"


def _diffusers_keys(manifest: str) -> str:
    state = {dit_key_from_diffusers(key): value for key, value in on_meta(manifest).items()}
    check(expected(lambda: DiT(DIT_CONFIGS[DIFFUSERS[manifest]]())), state, manifest)
    return f"{len(state)} of {len(read_manifest(manifest))}"


def _tokenizer(name: str, against: dict) -> dict:
    wan = name == "wan2.1-vae"
    vae = _on_meta(WanVAE if wan else lambda: WaveletVAE(WaveletVAEConfig()))
    official_keys, diffusers_keys = _wan_keys(vae) if wan else _wavelet_keys(vae)
    return {
        "model": name,
        "parameters": sum(p.numel() for p in vae.parameters()),
        "official keys": official_keys,
        "diffusers keys": diffusers_keys,
        "golden error": _wan_error() if wan else _wavelet_error(),
        "golden sampler error": None,
        "diffusers latents error": None,
        "diffusers pixels error": max(against[case][1] for case, of in CASES.items() if of.kind in TOKENIZERS[name]),
    }


def _wan_keys(vae: WanVAE) -> tuple[str, str]:
    ours, theirs = on_meta("predict2_wan_vae"), on_meta("wan_vae.diffusers")
    check(vae.state_dict(), wan_vae_from_official(ours), "official")
    check(vae.state_dict(), wan_vae_from_diffusers(theirs), "diffusers")
    return f"{len(ours)} of {len(ours)}", f"{len(theirs)} of {len(theirs)}"


def _wavelet_keys(vae: WaveletVAE) -> tuple[str, str]:
    statistics = {"mean": torch.zeros(16, 16), "std": torch.ones(16, 16)}
    ours = on_meta("predict1_tokenizer_cv8x8x8_720p_autoencoder")
    theirs = on_meta("predict1_diffusers_autoencoder_kl_cosmos")
    state = wavelet_vae_from_official(ours, **statistics)
    check(vae.state_dict(), state, "official")
    check(vae.state_dict(), wavelet_vae_from_diffusers(theirs, **statistics), "diffusers")
    # The state has two latent statistics more, and the file the constants of the Haar filters.
    read = len(state) - 2
    return f"{read} + {len(ours) - read} without weights of {len(ours)}", f"{len(theirs)} of {len(theirs)}"


def _wan_error() -> float:
    golden = read_golden("wan_vae_tiny")
    vae = WanVAE(WanVAEConfig(channels=8))
    vae.load_state_dict(wan_vae_from_official(golden.weights))
    encoded = [
        relative_error(vae.encode(golden[f"in/encode_{n}f/video"]), golden[f"out/encode_{n}f/latent_normalized"])
        for n in (1, 9, 21)
    ]
    decoded = [
        relative_error(vae.decode(golden[f"in/decode_{n}l/latent_normalized"]), golden[f"out/decode_{n}l/video"])
        for n in (1, 3)
    ]
    return max(encoded + decoded)


def _wavelet_error() -> float:
    golden = read_golden("predict1_tokenizer_tiny")
    vae = WaveletVAE(WaveletVAEConfig(channels=8))
    mean, std = cosmos_latent_statistics()
    vae.load_state_dict(wavelet_vae_from_official(golden.weights, mean=mean * 0, std=std * 0 + 1))
    pairs = [("video", "latent", "decoded"), ("image", "latent_image", "decoded_image")]
    encoded = [relative_error(vae.encode(golden[f"in/{x}"]), golden[f"out/{z}"]) for x, z, _ in pairs]
    return max(encoded + [relative_error(vae.decode(golden[f"out/{z}"]), golden[f"out/{y}"]) for _, z, y in pairs])


def _predict2_sampler() -> float:
    golden = read_golden("predict2_sampler")
    mu = golden["in/mu"]
    finals = {n: sample(ab2(predict2_denoiser(mu), official(7, mu.shape) * 80, karras(n))) for n in (35, 10, 4)}
    return max(relative_error(final, golden[f"out/final_{n}"]) for n, final in finals.items())


def _predict1_sampler() -> float:
    """Predict1's Euler runs, in float32 and bfloat16, and Cosmos-1.0's multistep solver."""
    errors = []
    for name, run in PREDICT1_RUNS:
        golden = read_golden(name)
        final = predict1_run(golden, run, legacy="fixed" not in name)[-1].x0
        errors.append(relative_error(final, golden[f"out/{run}/samples"]))
    golden = read_golden("predict1_sampler_res")

    def net(x, timesteps, text, **_):
        return torch.tanh(0.5 * x + timesteps[0] + text[0, 0, 0]) + 0.1 * x

    texts = (torch.full((1, 2, 3), 0.25), torch.full((1, 2, 3), -0.125))
    denoise = make_denoiser(net, EDM(0.5), *texts, Guidance(7.0), batch_guidance=False)
    for run in ("res_2ab_35", "res_2ab_5"):
        final = sample(ab2(denoise, (golden["in/noise_unit"] * 80).double(), golden[f"in/{run}/sigmas"]))
        errors.append(relative_error(final, golden[f"out/{run}/samples"]))
    return max(errors)


def _predict2_5_sampler() -> float:
    golden, errors = read_golden("predict2_5_unipc"), []
    mu = golden["in/mu"]

    def velocity(x, timesteps, text, **_):
        return x - mu + 0.3 * torch.sin(2 * x + 3 * (timesteps[0] / 1000))

    for case, settings in golden.metadata["cases"].items():
        count = settings["num_inference_steps"]
        karras_grid = settings.get("use_kerras_sigma")
        sigmas = flow_karras(count) if karras_grid else flow_shifted(count, shift=settings["shift"])
        steps = unipc(make_denoiser(velocity, Flow(), torch.zeros(1, 1, 1)), golden["in/x_init"], sigmas)
        errors.append(relative_error(torch.stack([step.x for step in steps]), golden[f"out/{case}/x"]))
    return max(errors)


SAMPLERS = {"predict1": _predict1_sampler, "predict2": _predict2_sampler, "predict2.5": _predict2_5_sampler}


def _on_meta(make) -> torch.nn.Module:
    with torch.device("meta"):
        return make()


def benchmarks() -> dict[str, list[dict]]:
    """What `assets/benchmarks` holds, by the name of the transformer's configuration."""
    found: dict[str, list[dict]] = {}
    for path in sorted((ROOT / "assets" / "benchmarks").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "error" not in record:
            config = catalog.card(record["model"]).dit
            (name,) = (name for name, make in DIT_CONFIGS.items() if name != "nano" and make() == config)
            found.setdefault(name, []).append(record)
    return found


def markdown(rows: list[dict], records: dict[str, list[dict]]) -> str:
    """The table, with the columns of the GPU."""
    header = ("model", "parameters", "keys of the official file", "keys of diffusers' file", "golden error",
              "golden sampler error", "diffusers: latents", "diffusers: pixels", "H200: peak, a clip")  # fmt: skip
    lines = []
    for row in rows:
        values = [_cell(value) for value in row.values()]
        lines.append((*values, "; ".join(map(_on_gpu, records.get(row["model"], []))) or "not measured"))
    table = Table(header, tuple(lines))
    body = "\n".join("| " + " | ".join(line) + " |" for line in (table.header, ("---",) * len(header), *table.rows))
    return f"{__doc__.partition(chr(10) * 2)[0]}\n\n{body}\n\n{NOTE}\n"


NOTE = f"""Made by `{COMMAND}`. Errors are the largest absolute difference over the largest
absolute value, float32 on a CPU, between networks of a few thousand parameters: models of one architecture share them.
An error of 0 is equality bit for bit. Cosmos-1.0 has Predict1's networks. The peak of the H200 counts the weights
(without a text encoder, which is not loaded), in GB of 10^9 bytes; the clip goes from noise to pixel frames with
guidance, in bfloat16, its weights random."""


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _on_gpu(record: dict) -> str:
    peak = max(stage["peak_gb"] for stage in record["stages"].values())
    how = "extrapolated" if record["extrapolated"] else "measured"
    size = f"{record['width']}x{record['height']}x{record['num_pixel_frames']}"
    return f"{size}: {peak:.1f} GB, {record['clip_seconds']:.0f} s {how}"


def main() -> None:
    from cosmos_lab.files import write_json, write_text

    rows = measured()
    write_json(ROOT / "assets" / "parity.json", {"command": COMMAND, "torch": torch.__version__, "rows": rows})
    write_text(ROOT / "assets" / "parity.md", markdown(rows, benchmarks()))


if __name__ == "__main__":
    main()
