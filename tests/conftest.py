"""What every test shares: no network."""

import os

# Set before any test module imports a hub client, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
