"""Methods of the survey's Table 1 that are not registered, each with the reason."""

K_BIT = "k-bit quantiser, later"
LOSS = "extra loss term, later"
DISTILLATION = "a way to train, not a binariser: `DistilledTraining` of bnn_tasks.tasks, with any method"
GRADUAL = "gradual quantisation, later"

UNBUILT = {
    "TSQ": K_BIT,
    "BWN via Hashing (BWNH)": "codes learned offline by alternating least squares instead of training, later",
    "PACT": K_BIT,
    "LQ-Nets": K_BIT,
    "WRPN": f"1-bit weights are bwn's, widening is the backbones' `width`; its activations are a {K_BIT}",
    "Learning Symmetric Quantization": GRADUAL,
    "Real-to-Bin": "its two stages are `with_real_weights`; attention matching and gates learned from the input, later",
    "Distilled Binary NN": DISTILLATION,
    "Distillation and Quantization": DISTILLATION,
    "Apprentice": DISTILLATION,
    "INQ": GRADUAL,
    "BNN-DL (RAD)": LOSS,
    "CI-BCNN": "learns interactions of channels by reinforcement: no formula at hand",
    "Main/Subsidiary Network": "prunes the filters of a binary net, later",
    "HWGQ": K_BIT,
    "BCGD": "an update rule without a paper's text at hand",
    "ProxQuant": GRADUAL,
    "Quantization Networks": K_BIT,
    "Improved Training BNN": "its PReLU is `PReLUBlock`, its stages are `with_real_weights`; stacked nets, later",
}
