"""Fitted cameras of the study `gamma_sr`: `degradation.camera` names files of `degradation_fit`, read when planned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senmei.core.errors import ConfigError

if TYPE_CHECKING:
    from senmei.physics.planar.fitted import FittedCamera

LARGEST = 1_000_000  # bytes of a file
_WHERE = "degradation.camera"


def read_cameras(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`degradation` with what its camera files hold in place of their names, so that content enters every key.

    folder : of this study's results, which no file may come from: a fit to images that it made itself would change them
    with each run. Raises ConfigError for a file that is not there or no fitted camera, two of one setting, and a
    background that is given beside the fitted one.
    """
    given = settings.get("camera") or []
    paths = [given] if isinstance(given, str) else list(given)
    if not paths:
        return {**settings, "camera": []}
    from senmei.physics.planar.fitted import FittedCamera

    own = folder.resolve()
    found: list[FittedCamera] = []
    for path in map(Path, paths):
        if own in path.resolve().parents:
            why, fix = (
                "it is of this very run, whose images it would change",
                "copy it, or name another run's",
            )
            raise ConfigError(
                "A fit cannot set its own simulation", where=f"{_WHERE}: {path}", why=why, fix=fix
            )
        camera = FittedCamera.from_dict(_content(path), f"{_WHERE}: {path}")
        if any(camera.is_of(vars(other)) for other in found):
            raise ConfigError(
                "Two fitted cameras of one setting",
                where=f"{_WHERE}: {path}",
                why=f"another file is of {camera.label}, too",
                fix="give one file a setting",
            )
        found.append(camera)
    if float(settings["background_cps_per_cm2"]) > 0:
        raise ConfigError(
            "The background is given twice",
            where="degradation.background_cps_per_cm2",
            why="a fitted camera has its own",
            fix="leave it out",
        )
    return {**settings, "camera": [camera.to_dict() for camera in found]}


def fitted_camera(setting: Mapping[str, Any], settings: Mapping[str, Any]) -> FittedCamera | None:
    """The fitted camera of a setting (nuclide, collimator, distance_mm, layer_mm), if one is given."""
    given: Sequence[Any] = settings.get("camera") or ()
    if not given:
        return None
    from senmei.physics.planar.fitted import FittedCamera

    cameras = (FittedCamera.from_dict(value, _WHERE) for value in given)
    return next((camera for camera in cameras if camera.is_of(setting)), None)


def check_fitted(setting: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a condition that none of the given cameras was fitted at. Raises ConfigError."""
    if not settings.get("camera") or fitted_camera(setting, settings) is not None:
        return
    from senmei.physics.planar.fitted import FittedCamera

    labels = [FittedCamera.from_dict(value, _WHERE).label for value in settings["camera"]]
    wanted = (
        f"{setting['nuclide']}, {setting['collimator']}, {float(setting['distance_mm']):g} mm, layer "
        f"{float(setting['layer_mm']):g} mm"
    )
    raise ConfigError(
        "No camera was fitted at this condition",
        where=_WHERE,
        why=f"{wanted} is to be simulated; fitted: {'; '.join(labels)}",
        fix="give a file for each condition, or leave conditions out",
    )


def _content(path: Path) -> Any:
    """Of a JSON file. Raises ConfigError."""
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return json.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = f"{error}"[:200] if isinstance(error, ValueError) else type(error).__name__
        fix = "name a camera_*.json that the analysis `degradation_fit` wrote"
        raise ConfigError(
            "Fitted camera cannot be read", where=f"{_WHERE}: {path}", why=why, fix=fix
        ) from error
