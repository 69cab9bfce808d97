"""A laboratory of paper phantoms that is simulated: pages under a camera, and its DICOM files."""
