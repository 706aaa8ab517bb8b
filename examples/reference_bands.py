"""What is usual for a training preset: bands of runs with different seeds.

    overcrank train nano-vae -o runs/vae
    for seed in 0 1 2; do overcrank train nano-transformer -o runs/t$seed --set seed=$seed \\
        --set vae=runs/vae/vae.safetensors --set save_every=100; done
    python examples/reference_bands.py runs/t0 runs/t1 runs/t2

Enters the bands into the package's reference.json, which each run of that preset is compared with.
"""

import argparse
import json
from pathlib import Path

from overcrank.train import health


def main() -> None:
    """Replace the entry of the preset that the runs took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--file", type=Path, default=Path(health.__file__).parent / health.FILE)
    asked = parser.parse_args()
    stored = json.loads(asked.file.read_text()) if asked.file.exists() else {}
    stored |= health.entry(asked.runs)
    lines = ",\n".join(f"{json.dumps(run)}: {json.dumps(stored[run])}" for run in sorted(stored))
    asked.file.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{asked.file}: {', '.join(sorted(stored))}")


if __name__ == "__main__":
    main()
