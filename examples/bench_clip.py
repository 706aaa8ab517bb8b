"""Time the default clip of the shipped model: `make bench`."""

from statistics import median

import overcrank

PROMPT = "a red ball bounces on a blue floor"
CLIPS = 7


def main() -> None:
    """One clip to warm up, then the median of seven. Writing the file is not counted."""
    pipe = overcrank.load("pocket")
    pipe(PROMPT)
    reports = [pipe(PROMPT, seed=seed).report for seed in range(CLIPS)]
    print(f"{CLIPS} clips, medians")
    print(f"realtime factor {median(report.realtime_factor for report in reports):8.2f}")
    for stage in reports[0].seconds:
        print(f"{stage:15} {median(report.seconds[stage] for report in reports):8.3f} s")


if __name__ == "__main__":
    main()
