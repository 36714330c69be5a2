import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import read_golden

import cosmos_lab
from cosmos_lab.noise import Keyed, Official, Recorded, keyed, official

SHAPE = (2, 16, 9, 14, 24)


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_official_noise_equals_the_golden_exactly(seed):
    expected = read_golden("predict2_sampler")[f"out/noise_seed{seed}_first16"]
    assert torch.equal(official(seed, (1, 16, 1, 8, 8)).flatten()[:16], expected)


def test_official_noise_of_a_whole_shape():
    expected = read_golden("predict2_sampler")["in/noise_seed7_unit"]
    assert torch.equal(official(7, tuple(expected.shape)), expected)


def test_keyed_noise_is_standard_normal():
    noise = keyed(3, SHAPE)
    assert noise.shape == SHAPE and noise.dtype == torch.float32
    n = noise.numel()
    # Four standard errors of mean, variance and kurtosis over 96,768 values.
    assert abs(noise.mean()) < 4 / n**0.5 and abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((noise**4).mean() - 3) < 4 * (96 / n) ** 0.5


def test_keyed_noise_never_changes():
    """These numbers are the identity of every generation made so far; a change of key or generator shows here."""
    assert keyed(0, (1, 1, 1, 1, 4)).flatten().tolist() == pytest.approx(
        [-1.3009195, -0.6542591, 0.1892949, 0.2008618], abs=1e-6
    )


def test_sample_does_not_depend_on_its_batch():
    batch = keyed(5, (4, 3, 2, 4, 4))
    for i in range(4):
        assert torch.equal(batch[i : i + 1], keyed(5, (1, 3, 2, 4, 4), sample=i))


def test_latent_frame_does_not_depend_on_how_many_follow():
    long = keyed(5, (1, 3, 9, 4, 4))
    assert torch.equal(long[:, :, :3], keyed(5, (1, 3, 3, 4, 4)))
    assert torch.equal(long[:, :, 4:7], keyed(5, (1, 3, 3, 4, 4), first_latent_frame=4))
    # What a single stream does instead, so that this test can fail:
    assert not torch.equal(official(5, (1, 3, 9, 4, 4))[:, :, :3], official(5, (1, 3, 3, 4, 4)))


def test_every_part_of_the_key_counts():
    shape = (1, 4, 1, 8, 8)
    draws = [
        keyed(5, shape),
        keyed(6, shape),
        keyed(5, shape, purpose="augment"),
        keyed(5, shape, sample=1),
        keyed(5, shape, step=1),
        keyed(5, shape, branch=1),
        keyed(5, shape, first_latent_frame=1),
    ]
    flat = torch.stack([draw.flatten() for draw in draws])
    correlation = torch.corrcoef(flat) - torch.eye(len(draws))
    # Independent draws of 256 values correlate by 1/16 at one standard error; none by four.
    assert correlation.abs().max() < 0.25


def test_a_numpy_seed_is_the_same_seed():
    assert torch.equal(keyed(np.int64(5), (1, 1, 1, 2, 2), sample=np.int32(1)), keyed(5, (1, 1, 1, 2, 2), sample=1))


def test_noise_leaves_the_global_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    keyed(0, SHAPE), official(0, SHAPE)
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()


def test_sources_share_one_call():
    shape = (1, 4, 2, 3, 3)
    assert torch.equal(Keyed(3, sample=2)(shape, step=4), keyed(3, shape, sample=2, step=4))
    source = Official(3)
    assert source.reproduces("augment") and torch.equal(source(shape), source(shape, purpose="augment"))
    assert not source.reproduces("posterior")
    assert torch.equal(source(shape, purpose="posterior"), keyed(3, shape, purpose="posterior"))
    augmenting = Official(3, purposes=("augment",))
    assert torch.equal(augmenting(shape, purpose="augment"), official(3, shape))
    assert torch.equal(augmenting(shape), keyed(3, shape)) and not augmenting.reproduces("initial")
    recorded = Recorded({("initial", 0, 0): torch.ones(shape)})
    assert torch.equal(recorded(shape), torch.ones(shape))
    with pytest.raises(ValueError, match="no noise was recorded"):
        recorded(shape, step=1)
    with pytest.raises(ValueError, match="asked for"):
        recorded((1, 4, 3, 3, 3))


def test_bad_seeds_and_shapes_are_refused():
    with pytest.raises(ValueError, match="seed"):
        keyed(-1, SHAPE)
    with pytest.raises(ValueError, match="B, C, T, H, W"):
        keyed(0, (16, 9, 14, 24))


TORCH_DRAWS = {
    "bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "randperm",
}  # fmt: skip
IN_PLACE_DRAWS = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
}  # fmt: skip
SEEDERS = {"torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"}
SEEDED_NUMPY = {"Generator", "MT19937", "PCG64", "Philox", "RandomState", "SeedSequence", "default_rng"}


def global_draws(source: str) -> list[str]:
    """Calls that read or seed a global random generator, as "line: name"."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [f"{call.lineno}: {name}" for call in calls if _is_global(call, name := _full_name(call.func, names))]


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _is_global(call: ast.Call, name: str) -> bool:
    seeded, keywords = bool(call.args or call.keywords), {keyword.arg for keyword in call.keywords}
    module, _, function = name.rpartition(".")
    if name in SEEDERS:
        return True
    if module == "torch" and function in TORCH_DRAWS or function in IN_PLACE_DRAWS and not module.endswith("init"):
        return "generator" not in keywords
    if module == "numpy.random":
        return function not in SEEDED_NUMPY or not seeded
    return module == "random" and (function not in ("Random", "SystemRandom") or not seeded)


def test_museum_15_the_library_uses_no_global_generator():
    root = Path(cosmos_lab.__path__[0])
    found = {str(path.relative_to(root)): global_draws(path.read_text()) for path in sorted(root.rglob("*.py"))}
    assert len(found) > 5 and {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "mutant",
    [
        "import numpy as np\nlength = np.random.randint(16, 32)",
        "import torch\nx = torch.randn(3)",
        "import torch as t\nx = t.randn_like(y)",
        "from torch import rand\nx = rand(3)",
        "import torch\ntorch.manual_seed(0)",
        "import random\nrandom.shuffle(items)",
        "from random import choice\nchoice(items)",
        "import numpy as np\nrng = np.random.default_rng()",
        "x.normal_()",
    ],
)
def test_museum_15_mutants_are_found(mutant):
    assert len(global_draws(mutant)) == 1


@pytest.mark.parametrize(
    "fine",
    [
        "import torch\nx = torch.randn(3, generator=g)",
        "import torch\ng = torch.Generator().manual_seed(0)",
        "import numpy as np\nrng = np.random.default_rng(seed)\nrng.normal()",
        "import random\nr = random.Random(3)\nr.choice(items)",
        "x.normal_(generator=g)",
    ],
)
def test_museum_15_keyed_randomness_is_allowed(fine):
    assert global_draws(fine) == []
