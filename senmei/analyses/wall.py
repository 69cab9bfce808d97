"""Thickness of the left ventricle's wall, as its full width at half maximum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from senmei.analyses.polar import SEARCH, SEGMENTS, Rays, cast_rays
from senmei.analyses.short_axis import HeartFrame, Sampler
from senmei.core.volume import Volume

PROMINENCE = 0.05  # of the brightest wall: a lower rise over its surroundings is no peak
ENOUGH = 0.25  # of a segment's rays must show a peak


def ray_thickness(rays: Rays) -> np.ndarray:
    """(rings, angles) mm: full width at half maximum across the wall on each ray, NaN where there is no peak.

    Each side has its own background: the lowest value between the peak and the ray's end, in the cavity or out in
    the lung, liver or right ventricle. The width runs from where the ray crosses the mean of peak and inner
    background to where it crosses that of peak and outer background, found between samples by interpolation.
    No peak: no local maximum within `SEARCH` of the middle of the wall, or one that rises over the higher background
    by less than 5 % of the wall's brightest (98th percentile of maxima).
    """
    values, offsets = rays.values.reshape(-1, rays.offsets.size), rays.offsets
    step, rows = float(offsets[1] - offsets[0]), np.arange(len(values))
    # The highest local maximum near the wall: a liver that touches it may be brighter still at the search's border.
    hill = np.zeros(values.shape, bool)
    hill[:, 1:-1] = (values[:, 1:-1] >= values[:, :-2]) & (values[:, 1:-1] > values[:, 2:])
    hill &= np.abs(offsets) <= SEARCH
    top = np.where(hill, values, -np.inf).argmax(axis=1)
    peak = values[rows, top]
    place = np.arange(offsets.size)
    inner, outer = place <= top[:, None], place >= top[:, None]
    floor_in = np.where(inner, values, np.inf).min(axis=1)
    floor_out = np.where(outer, values, np.inf).min(axis=1)
    fair = hill.any(axis=1)
    fair &= peak - np.maximum(floor_in, floor_out) > PROMINENCE * np.percentile(rays.maxima, 98)
    # Last sample below the half level on the way in, first one on the way out.
    low_in = inner & (values <= ((peak + floor_in) / 2)[:, None])
    low_out = outer & (values <= ((peak + floor_out) / 2)[:, None])
    fair &= low_in.any(axis=1) & low_out.any(axis=1)
    start = offsets.size - 1 - low_in[:, ::-1].argmax(axis=1)
    end = low_out.argmax(axis=1)
    start, end = np.where(fair, start, 0), np.where(fair, end, 1)
    left = start + _part(values[rows, start], values[rows, start + 1], (peak + floor_in) / 2)
    right = end - _part(values[rows, end], values[rows, end - 1], (peak + floor_out) / 2)
    return np.where(fair, (right - left) * step, np.nan).reshape(rays.wall.segments.shape)


def _part(low: np.ndarray, high: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Where between two samples the level is crossed, 0..1 from the lower one."""
    rise = high - low
    return np.clip(np.divide(level - low, rise, out=np.zeros_like(rise), where=rise > 0), 0, 1)


def thickness_by_segment(thickness: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(17,) mm: the median of each AHA segment's rays, NaN where fewer than a quarter of them show a peak."""
    result = np.full(SEGMENTS, np.nan)
    for k in range(SEGMENTS):
        rays = thickness[segments == k + 1]
        found = rays[np.isfinite(rays)]
        if found.size and found.size >= ENOUGH * rays.size:
            result[k] = np.median(found)
    return result


def wall_thickness(volume: Volume | Sampler, heart: Mapping[str, Any] | HeartFrame) -> np.ndarray:
    """(17,) mm: thickness per AHA segment as the wall's width at half maximum, blur of the image included.

    Raises DataError if the heart is unusable or outside the field.
    """
    rays = cast_rays(volume, heart)
    return thickness_by_segment(ray_thickness(rays), rays.wall.segments)
