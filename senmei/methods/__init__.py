"""Everything that restores an image. One file per idea."""

from senmei.core.registry import Registry

METHODS = Registry(
    "method",
    {
        "input": "senmei.methods.identity:Identity",
        "gaussian": "senmei.methods.gaussian:Gaussian",
        "nlm3d": "senmei.methods.nlm3d:NLM3D",
        "nlm_dipy": "senmei.methods.nlm_dipy:NLMDipy",
        "srcnn3d": "senmei.methods.srcnn3d:SRCNN3D",
        "unet3d": "senmei.methods.unet3d:UNet3D",
        "gan3d": "senmei.methods.gan3d:GAN3D",
    },
)
