"""Pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dice import circle


@dataclass(frozen=True)
class Camera:
    """Camera pose and intrinsics: position in metres, angles as tangents of half angles, focal length in image widths.

    Camera axes: x right, y down, z forward. Positive yaw looks right, positive pitch looks down, and positive roll
    turns the image clockwise.
    """

    x: float = 0.0
    height: float = 1.4
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    focal: float = 0.62
    centre: float = 0.5  # vertical position of the principal point, as a fraction of the image height
    near: float = 0.4

    def axes(self) -> tuple[tuple[float, float, float], ...]:
        """Return the camera's right, down and forward directions in world axes."""
        cy, sy = circle(self.yaw)
        cp, sp = circle(self.pitch)
        cr, sr = circle(self.roll)
        right, forward = (cy, 0.0, -sy), (sy * cp, -sp, cy * cp)
        down = (-sy * sp, -cp, -cy * sp)
        return (
            (cr * right[0] - sr * down[0], cr * right[1] - sr * down[1], cr * right[2] - sr * down[2]),
            (sr * right[0] + cr * down[0], sr * right[1] + cr * down[1], sr * right[2] + cr * down[2]),
            forward,
        )

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return world points (3, ...) in camera axes. Computed without BLAS, whose results depend on the machine."""
        x, y, z = points[0] - self.x, points[1] - self.height, points[2]
        return np.stack([row[0] * x + row[1] * y + row[2] * z for row in self.axes()])

    def rays(self, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the x (1, W) and y (H, 1) of the ray through each pixel centre, at z = 1."""
        height, width = size
        focal = self.focal * width
        u = (np.arange(width) + 0.5 - 0.5 * width) / focal
        v = (np.arange(height) + 0.5 - self.centre * height) / focal
        return u.astype(np.float32)[None, :], v.astype(np.float32)[:, None]
