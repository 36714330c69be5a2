"""Learn, run and research the Cosmos world foundation models.

    import cosmos_lab as lab

    pipe = lab.load("nano")
    clip = pipe.text2world("a red ball rolls across a wooden floor", seed=0)

The public names below are found when first used, so that `import cosmos_lab` costs next to nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "load": "cosmos_lab.pipelines.generate",
    "edit": "cosmos_lab.pipelines.edit",
    "long_video": "cosmos_lab.pipelines.long",
    "replay": "cosmos_lab.pipelines.replay",
    "Pipeline": "cosmos_lab.pipelines.generate",
    "Generation": "cosmos_lab.pipelines.generation",
    "models": "cosmos_lab.runtime.doctor",
    "doctor": "cosmos_lab.runtime.doctor",
    "evaluate": "cosmos_lab.evaluation.evaluate",
    "benchmark": "cosmos_lab.pipelines.benchmark",
    "show": "cosmos_lab.notebook",
    "check": "cosmos_lab.notebook",
    "widgets": "cosmos_lab.notebook",
    "source": "cosmos_lab.notebook.source",
    "worlds": "cosmos_lab",
}

_MODULES = ("show", "check", "widgets", "worlds")

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"cosmos_lab has no {name!r}; it has {', '.join(__all__)}")
    home = _HOMES[name]
    # A name that is a module itself, such as lab.show, is imported as one.
    return import_module(f"{home}.{name}") if name in _MODULES else getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
