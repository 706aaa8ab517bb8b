"""What the names in a report mean, a sentence each; docs/evaluation.md says more."""

TOLD = {
    "adherence": "Of the facts that captions name, the part that the recogniser finds in the "
    "clips; not being sure counts as not finding. Beside it the same of the true clips, of the "
    "true clips after the model's autoencoder, and of a model of random weights.",
    "wordings": "Captions as training has them, sentences that it never makes, and words that it "
    "never uses.",
    "scenes": "Scenes of one actor and of two; those with a pair of attributes that no training "
    "scene shows, and the others.",
    "pairs": "Two facts about the same actor, both found.",
    "permanence": "Of clips whose actors stay in view: those that show the same in their first "
    "and in their last second or two.",
    "artefacts": "Clips with something wrong that needs no caption; on the true clips these are "
    "false alarms.",
    "distance": "How far the set of clips is from a set of true clips, in the features of a "
    "network; the noise floor is the distance between two sets of true clips.",
    "first_frame": "The clip's first frame beside the picture that was given; the picture after "
    "the autoencoder alone is the best there can be.",
    "keyframes": "The same for pictures given for the middle and for the end.",
    "beginning": "Clips that go on from the beginning of a true one. A seam of 1 is a border like "
    "all others between frames.",
    "seams": "The jump where parts that were decoded on their own meet, of what is usual there.",
    "grid": "On clips of one colour: peaks in the spectrum at the periods of the autoencoder's "
    "cells, in pixels.",
    "channels": "Channels of the latent that are always the same; report.json has the statistics "
    "of each.",
    "realtime_factor": "Seconds of video for each second that it takes to make them.",
}
"""By the name of a part of a report, or of a group in it."""
