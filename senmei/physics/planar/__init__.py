"""Planar gamma-camera images of thin activity sheets: nuclides, blur, camera, corrections, and the camera's fit."""
