"""Draw demo.png of the README from results/demo: one held-out phantom, every method, one window."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

STUDY = Path("results/demo/mri_denoise")
METHODS = {"gaussian": "Gaussian", "nlm3d": "non-local means", "unet3d": "U-Net"}


def main() -> None:
    """Write docs/images/demo.png (run from the project's root, after `make demo`)."""
    mpl.use("Agg")
    scan = sorted((STUDY / "restored/phantoms/unet3d").glob("*rician09p0.nii.gz"))[0].name.removesuffix(
        ".nii.gz"
    )
    prepared = STUDY / "prepared/phantoms"
    images = {"9 % noise": prepared / "input" / f"{scan}_input.nii.gz"}
    images |= {
        title: STUDY / "restored/phantoms" / name / f"{scan}.nii.gz" for name, title in METHODS.items()
    }
    images["reference"] = prepared / "truth" / f"{scan}_reference.nii.gz"
    slices = {}
    for title, path in images.items():
        data = nib.load(path).get_fdata(dtype=np.float32)
        slices[title] = np.rot90(data[:, :, round(0.57 * data.shape[2])])
    foreground = np.argwhere(slices["reference"] > 100)
    box = tuple(slice(a, b + 1) for a, b in zip(foreground.min(0), foreground.max(0), strict=True))
    figure, axes = plt.subplots(2, len(slices), figsize=(12, 5.6), layout="constrained")
    figure.set_facecolor("black")
    for n, (title, image) in enumerate(slices.items()):
        axes[0, n].imshow(image[box], cmap="gray", vmin=0, vmax=1200)
        axes[0, n].set_title(title, color="white", fontsize=13)
        if title != "reference":
            difference = (image - slices["reference"])[box]
            axes[1, n].imshow(difference, cmap="RdBu_r", vmin=-200, vmax=200)
    axes[1, -1].text(
        0.5, 0.5, "synthetic head\n\nbelow: difference\nfrom the reference,\n±20 % of white matter",
        color="white", ha="center", va="center", fontsize=11, transform=axes[1, -1].transAxes,
    )  # fmt: skip
    for axis in axes.ravel():
        axis.axis("off")
    figure.savefig(Path(__file__).with_name("demo.png"), dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
