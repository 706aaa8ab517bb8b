"""What an autoencoder's output is judged by."""

from pydantic import Field

from overcrank.train.config.base import Step, Strict


class VAELoss(Strict):
    """Weights of the autoencoder's losses; a loss of weight 0 is not computed."""

    l1: float = 1.0
    """Of the absolute error of pixels."""
    mse: float = 8.0
    """Of the squared error of pixels."""
    wavelet: float = 1.0
    """Of the absolute error of eight space-time Haar bands."""
    perceptual: float = Field(default=0.0, ge=0)
    """Of the distance between features of the pictures."""
    features: str = "mobilenet"
    """The network that sees them: MobileNetV2 with the weights of a package, or with those of a
    safetensors file, named as torchvision names them."""
    gan: float = Field(default=0.0, ge=0)
    """Of a critic that tells output from original: 1 gives it as much say on the decoder's last
    weights as all of the losses above together."""
    gan_from: Step = 1000
    """The step at which the critic begins to learn and to be listened to."""
    kl: float = 1e-3
    """Of the divergence of the latents from N(0, 1)."""
    max_sigma: float = Field(default=0.2, ge=0, le=1)
    """Latents are noised with a level up to this before decoding, in 70 % of the samples."""
