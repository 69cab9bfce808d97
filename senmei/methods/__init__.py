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
        "gaussian_counts": "senmei.methods.gaussian_counts:GaussianCounts",
        "gaussian_oracle": "senmei.methods.gaussian_oracle:GaussianOracle",
        "butterworth_counts": "senmei.methods.butterworth_counts:ButterworthCounts",
        "butterworth_oracle": "senmei.methods.butterworth_oracle:ButterworthOracle",
        "butterworth_projections": "senmei.methods.butterworth_projections:ButterworthProjections",
        "nlm_counts": "senmei.methods.nlm_counts:NLMCounts",
        "win5rb": "senmei.methods.win5rb:WIN5RB",
        "unet3d_n2n": "senmei.methods.unet3d_n2n:UNet3DN2N",
        "unet_projections": "senmei.methods.unet_projections:UNetProjections",
        "nearest": "senmei.methods.nearest:Nearest",
        "bilinear": "senmei.methods.bilinear:Bilinear",
        "bicubic": "senmei.methods.bicubic:Bicubic",
        "gaussian_planar": "senmei.methods.gaussian_planar:GaussianPlanar",
        "butterworth_planar": "senmei.methods.butterworth_planar:ButterworthPlanar",
        "richardson_lucy": "senmei.methods.richardson_lucy:RichardsonLucy",
        "dictionary_planar": "senmei.methods.dictionary_planar:DictionaryPlanar",
        "srcnn": "senmei.methods.srcnn_planar:SRCNNPlanar",
        "srresnet": "senmei.methods.srresnet:SRResNet",
        "nafnet": "senmei.methods.nafnet:NAFNet",
        "delay_dispersion": "senmei.methods.delay_dispersion:DelayDispersion",
        "tac_network": "senmei.methods.tac_network:TACNetwork",
    },
)
