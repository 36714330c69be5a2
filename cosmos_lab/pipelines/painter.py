"""The first pixel frame, where a picture comes first: Predict2's text2world and edits.

Another model, which the card names, paints it or edits it; between the two lies a JPEG of quality 85. A model that
paints pictures itself edits its own, without one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cosmos_lab import catalog
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.source import Source
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.official import find_files, fingerprint
from cosmos_lab.video import through_jpeg

if TYPE_CHECKING:
    from cosmos_lab.pipelines.generate import Pipeline


@dataclass(frozen=True, kw_only=True)
class Painter:
    """The official model `name`, loaded with `options` each time that it is called for, so that it is freed again."""

    name: str
    options: Mapping[str, object]

    def __call__(self) -> "Pipeline":
        from cosmos_lab.pipelines.generate import load

        return load(self.name, **self.options)

    def weights(self) -> str | None:
        """The digest of its weights without loading them; None where they are not there."""
        given = {"checkpoints": None, "dit_path": None, "ema": False, "lora": None, "text_encoder": True} | self.options
        try:
            files = find_files(
                catalog.card(self.name), given["checkpoints"] or "checkpoints", dit_path=given["dit_path"],
                text_encoder=given["text_encoder"],
            )  # fmt: skip
        except WeightsError:
            return None
        return fingerprint(files.values(), choices=f"{given['ema']} {given['lora']}")


def painted(pipe: "Pipeline", call: Call, *, progress: bool = False) -> Call:
    """The call with its first pixel frame, where it begins with one that is still to be painted or edited.

    Negative prompt, seed and embeddings are the clip's. Raises ValueError where nothing can paint.
    """
    if call.source is not None or not call.settings.num_conditional_frames:
        return call
    if pipe.open_first_frame is None and call.edit is None:
        fix = "load that by name, or use image2world"
        raise ValueError(f"{pipe.name} begins text2world with {pipe.card.first_frame}: {fix}")
    painter = pipe if pipe.open_first_frame is None else pipe.open_first_frame()
    picture = painter.generate(_asked(painter, pipe, call), progress=progress).frames[0]
    if painter is pipe:
        return replace(call, source=Source.of(picture, num_conditional_frames=1))
    source = Source.of(through_jpeg(picture), num_conditional_frames=1)
    by = {"model": painter.name, "weights": painter.model.digest, "loaded": painter.loaded, "picture": source.sha256}
    return replace(call, source=replace(source, painter=by))


def _asked(painter: "Pipeline", pipe: "Pipeline", call: Call) -> Call:
    """What the painter is to make for the clip of `pipe`."""
    settings = call.settings
    embeds = {name: value for name, value in call.replacing.items() if name != "noise"}
    options = embeds | {
        "negative_prompt": settings.negative_prompt, "seed": settings.seed, "conventions": call.conventions,
        "guardrail": settings.guardrail != "DISABLED", "refine": settings.refiner != "DISABLED",
    }  # fmt: skip
    if painter is pipe:
        options |= {"resolution": (settings.height, settings.width), "guidance": settings.guidance}
    else:
        options["aspect_ratio"] = pipe.card.aspect_of(settings.height, settings.width)
    if call.edit is None:
        return painter.call("text2image", settings.prompt, **options)
    return call.edit.of_first_frame(painter, settings, options)
