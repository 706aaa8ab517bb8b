"""What a clip has to keep to besides its text: data with one method, `apply(state, encoder)`."""

from overcrank.conditioning.clip import Clip
from overcrank.conditioning.image import Image
from overcrank.conditioning.reference import Reference
from overcrank.conditioning.state import Condition, LatentState

__all__ = ["Clip", "Condition", "Image", "LatentState", "Reference"]
