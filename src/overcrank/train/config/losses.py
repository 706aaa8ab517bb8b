"""What an autoencoder's output is judged by."""

from pydantic import Field

from overcrank.train.config.base import Step, Strict


class VAELoss(Strict):
    """Weights of the autoencoder's losses; a loss of weight 0 is not computed."""

    l1: float = 1.0
    mse: float = 8.0
    wavelet: float = 1.0
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
    max_sigma: float = Field(default=0.2, ge=0, le=1)
    """Latents are noised with a level up to this before decoding, in 70 % of the samples."""
