"""Pure functions of one example and its restored volume. See `senmei.core.measure` for the contract."""

from senmei.core.registry import Registry

MEASURES = Registry(
    "measure",
    {
        "psnr": "senmei.measures.psnr:psnr",
        "ssim": "senmei.measures.ssim:ssim",
        "nmse": "senmei.measures.nmse:nmse",
        "mse": "senmei.measures.mse:mse",
        "sharpness": "senmei.measures.sharpness:sharpness",
        "residual_structure": "senmei.measures.residual_structure:residual_structure",
        "lesion_survival": "senmei.measures.lesion_survival:lesion_survival",
        "nrmse": "senmei.measures.nrmse:nrmse",
        "count_bias": "senmei.measures.count_bias:count_bias",
        "heart_count_bias": "senmei.measures.count_bias:heart_count_bias",
        "roi_count_error": "senmei.measures.count_error:roi_count_error",
        "reblur_deviance": "senmei.measures.reblur:reblur_deviance",
        "flat_noise": "senmei.measures.flat_noise:flat_noise",
        "edge_gain": "senmei.measures.edge_gain:edge_gain",
        "peak_time_error": "senmei.measures.curve_errors:peak_time_error",
        "peak_height_error": "senmei.measures.curve_errors:peak_height_error",
        "area_error": "senmei.measures.curve_errors:area_error",
        "mean_time_error": "senmei.measures.curve_errors:mean_time_error",
    },
)
