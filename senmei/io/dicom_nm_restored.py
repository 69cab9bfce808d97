"""Restored planar images as DICOM NM: what was counted made finer, in values that are no longer whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.dicom_nm_write import planar_to_dicom, scaled, value_mapping
from senmei.io.projections import PlanarImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def restored_planar_to_dicom(volume: Volume, like: PlanarImage, where: str, **labels: Any) -> Dataset:
    """A derived STATIC or WHOLE BODY image of one frame.

    volume : (x, y, 1), x to the right and y up, any values; its pixels are the file's. Values are stored as 16 bits:
    value = slope x stored + intercept (the *Real World Value Mapping Sequence*), off by half a slope at most, where
    slope = (max - min) / 65535 and min is 0 unless there are negative values. like : what is told of the acquisition;
    its counts and pixels are not. labels : those of `planar_to_dicom`.
    Raises DataError for another shape, pixels that are not along the axes, or values that are not finite.
    """
    data, affine = np.asarray(volume.data), volume.affine
    if (
        data.ndim != 3
        or data.shape[2] != 1
        or np.abs(affine[:2, :2] - np.diag(volume.voxel[:2])).max() > 1e-3
    ):
        raise DataError(
            "Cannot write a planar image to DICOM",
            where=where,
            why=f"it has the shape {' x '.join(map(str, data.shape))}; (x, y, 1), x right and y up, is needed",
            fix="restore it with a method for planar images",
        )
    stored, slope, intercept = scaled(np.ascontiguousarray(data[..., 0].T[::-1]), where)
    image = replace(
        like,
        counts=stored.astype(np.int32)[None, None],
        pixel_mm=(float(volume.voxel[1]), float(volume.voxel[0])),
        views=like.views[:1],
        windows=like.windows[:1],
    )
    dataset = planar_to_dicom(image, derived=True, **labels)
    dataset.CountsAccumulated = str(
        round(float(data.sum(dtype=np.float64)))
    )  # of the values, not as they are stored
    told = "Counts per pixel of the restored image"
    dataset.RealWorldValueMappingSequence = [
        value_mapping(slope, intercept, int(stored.max()), told, "RESTORED")
    ]
    return dataset
