"""Makes the small text encoder, `src/overcrank/text/small.safetensors`, from MiniLM and WordNet.

    python examples/distil_text.py /usr/share/wordnet work words teach learn export

The first folder is that of WordNet 3.0 (Debian's wordnet-base), the second is for what the steps
leave to each other. Sentences are captions of training, in which words are replaced by any of the
dictionary, and its definitions and examples. What is to be said of a rare word is what MiniLM says
of a common one in its place, one by which the dictionary explains it: "crimson" is read as "red".

Axes: V pieces, R rank of the table, L tokens, D width.
"""

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from math import ceil
from pathlib import Path

import numpy as np
import torch
from dictionary import Dictionary, Meaning
from minilm import SCALE, MiniLMEncoder, find_folder
from safetensors.torch import load_file
from sentences import FORMS, SLOTS, Item, Words, sentences
from tokenizers import Tokenizer
from torch import Tensor

from overcrank.text.small import (
    FILE,
    LONGEST,
    RANK,
    SmallNetwork,
    make_tokenizer,
    write_small,
)

SENTENCES = 50_000
EPOCHS = 2
BATCH = 64
PEAK_RATE = 4e-4
LAYERS = (0, 5)
"""Those of the teacher that the student begins as."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

_TABLE = "embeddings.word_embeddings.weight"


def find_words(wordnet: Path, work: Path) -> None:
    """The meanings, the vocabulary, and what its rows begin as."""
    dictionary = Dictionary(wordnet)
    teacher = Tokenizer.from_file(str(find_folder() / "tokenizer.json"))
    table_VD = load_file(find_folder() / "model.safetensors")[_TABLE].float()
    unit_VD = torch.nn.functional.normalize(table_VD - table_VD.mean(0), dim=1).numpy()
    vectors: dict[str, np.ndarray] = {}

    def vector(text: str) -> np.ndarray:
        if text not in vectors:
            ids = teacher.encode(text, add_special_tokens=False).ids
            mean = unit_VD[ids].mean(0) if ids else np.zeros(unit_VD.shape[1])
            vectors[text] = mean / max(float(np.linalg.norm(mean)), 1e-6)
        return vectors[text]

    def likeness(one: str, other: str) -> float:
        return float(vector(one) @ vector(other))

    meanings = {
        slot: {word: m for word, m in found.items() if dictionary.is_usual(word)}
        for slot in SLOTS
        for found in [dictionary.meanings(slot, likeness)]
    }
    rows: defaultdict[str, list[Tensor]] = defaultdict(list)

    def row(word: str) -> Tensor:
        return table_VD[teacher.encode(word, add_special_tokens=False).ids].mean(0)

    for slot, words in meanings.items():
        for word, meaning in words.items():
            for inflect in FORMS.values() if slot == "verb" else (str,):
                form = inflect(word)
                if re.fullmatch("[a-z]+", form) and meaning.others:
                    others = [weight * row(inflect(other)) for other, weight in meaning.others]
                    mixed = meaning.itself * row(form) + (1 - meaning.itself) * sum(others)
                    rows[form].append(mixed)
    known = teacher.get_vocab()
    used = _used(dictionary, teacher)
    kept = [piece for piece, _ in sorted(known.items(), key=lambda pair: pair[1]) if piece in used]
    whole = sorted(form for form in rows if form not in known and dictionary.is_usual(form))
    pieces = [*SPECIAL, *kept, *whole]
    begin_VD = torch.stack(
        [
            torch.stack(rows[piece]).mean(0) if piece in rows else table_VD[known[piece]]
            for piece in pieces
        ]
    )
    print(f"{len(kept)} pieces of the teacher's, {len(whole)} words of their own")
    said = {slot: {w: astuple(m) for w, m in found.items()} for slot, found in meanings.items()}
    (work / "words.json").write_text(json.dumps([said, pieces]))
    torch.save(begin_VD, work / "words.pt")


def _used(dictionary: Dictionary, teacher: Tokenizer) -> set[str]:
    """Pieces of three characters at most, and those that the dictionary's text has twice."""
    short = re.compile(r"(##)?[a-z0-9]{1,3}|[!-/:-@\[-`{-~]")
    texts = [*dictionary.examples(), *(word for (word, _), n in dictionary.count.items() if n)]
    encodings = teacher.encode_batch(texts, add_special_tokens=False)
    times = Counter(piece for encoding in encodings for piece in encoding.tokens)
    used = {piece for piece, n in times.items() if n >= 2 and piece.isascii()}
    used |= {piece for piece in teacher.get_vocab() if short.fullmatch(piece)}
    return used - set(SPECIAL)


@torch.no_grad()
def teach(wordnet: Path, work: Path, minutes: float) -> None:
    """What the teacher says of each sentence, piece by piece of the student's."""
    meanings, pieces, _ = _words(work)
    words, tokenizer = Words(meanings), make_tokenizer(pieces)
    teacher = MiniLMEncoder()
    drawn = sentences(wordnet, words)
    told: list[tuple[Tensor, Tensor]] = []
    until = time.monotonic() + 60 * minutes
    for begin in range(0, SENTENCES, 1024):
        block = sorted((next(drawn) for _ in range(1024)), key=len)
        for first in range(0, len(block), BATCH):
            told += _tell(block[first : first + BATCH], tokenizer, teacher)
        print(begin, len(told), flush=True)
        if time.monotonic() > until:
            break
    lengths = torch.tensor([len(ids) for ids, _ in told])
    ids_N = torch.cat([ids for ids, _ in told])
    states_ND = torch.cat([states for _, states in told])
    torch.save({"lengths": lengths, "ids": ids_N, "states": states_ND}, work / "told.pt")


def _tell(
    block: Sequence[Sequence[Item]], tokenizer: object, teacher: MiniLMEncoder
) -> list[tuple[Tensor, Tensor]]:
    """Ids of the student's pieces and the teacher's states for them."""
    mine, mine_of = _spans([[item[0] for item in items] for items in block], tokenizer)
    _, theirs_of = _spans([[item[1] for item in items] for items in block], teacher._tokenizer)
    with torch.autocast("cpu", torch.bfloat16):  # fast, and no worse than what is learnt from it
        rows = teacher.encode([" ".join(item[1] for item in items) for items in block]).rows()
    told = []
    for ids, of, states_LD, their_of in zip(mine, mine_of, rows, theirs_of, strict=True):
        wanted = torch.empty(len(ids), states_LD.shape[1])
        for item in set(of):
            at = [i for i, each in enumerate(of) if each == item]
            there = [i for i, each in enumerate(their_of) if each == item]
            same = len(at) == len(there)
            wanted[at] = states_LD[there] if same else states_LD[there].mean(0)
        told.append((torch.tensor(ids, dtype=torch.int32), wanted.bfloat16()))
    return told


def _spans(
    block: Sequence[Sequence[str]], tokenizer: object
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of each sentence, and the number of the item to which each belongs; -1 and -2 at its
    ends."""
    encodings = tokenizer([" ".join(items) for items in block], truncation=True, max_length=LONGEST)
    ids, belongs = [], []
    for items, encoding in zip(block, encodings.encodings, strict=True):
        starts = np.cumsum([0, *(len(item) + 1 for item in items)])
        inner = [int(np.searchsorted(starts, a, "right")) - 1 for a, _ in encoding.offsets[1:-1]]
        ids.append(list(encoding.ids))
        belongs.append([-1, *inner, -2])
    return ids, belongs


def learn(work: Path) -> None:
    """As the teacher says, lengths alike in a batch."""
    _, pieces, begin_VD = _words(work)
    network = begin(pieces, begin_VD)
    _train(network, work, EPOCHS, PEAK_RATE)
    torch.save(network.state_dict(), work / "student.pt")


def _train(network: SmallNetwork, work: Path, epochs: float, peak: float) -> None:
    told = torch.load(work / "told.pt", weights_only=True, mmap=True)
    ends = told["lengths"].cumsum(0)
    count = len(ends) // BATCH
    steps = int(epochs * count)
    optimiser = torch.optim.AdamW(network.parameters(), peak, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps, pct_start=0.1)
    order = [k for _ in range(ceil(epochs)) for k in torch.randperm(count).tolist()][:steps]
    clock, shown = time.monotonic(), 0.0
    for step, k in enumerate(order):
        loss = _loss(network, told, ends, range(k * BATCH, (k + 1) * BATCH))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rate.step()
        shown = loss.item() if step == 0 else 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"{step} of {steps}: {shown:.4f}, {time.monotonic() - clock:.0f} s", flush=True)


def _loss(network: SmallNetwork, told: dict[str, Tensor], ends: Tensor, picks: range) -> Tensor:
    """Squares of the difference, and what the cosine lacks of 1."""
    spans = [slice(int(ends[i] - told["lengths"][i]), int(ends[i])) for i in picks]
    pad = torch.nn.utils.rnn.pad_sequence
    ids_BL = pad([told["ids"][span].long() for span in spans], batch_first=True)
    want_BLD = pad([told["states"][span] for span in spans], batch_first=True).float()
    keep_BL = torch.arange(ids_BL.shape[1]) < told["lengths"][picks.start : picks.stop, None]
    with torch.autocast("cpu", torch.bfloat16):
        have_BLD = network(ids_BL, keep_BL)
    have_ND, want_ND = have_BLD.float()[keep_BL], want_BLD[keep_BL]
    cosine_N = torch.cosine_similarity(have_ND, want_ND)
    return (have_ND - want_ND).square().mean() + (1 - cosine_N).mean()


def begin(pieces: Sequence[str], begin_VD: Tensor) -> SmallNetwork:
    """The student as parts of the teacher, with the table's principal components."""
    weights = load_file(find_folder() / "model.safetensors")
    network = SmallNetwork(len(pieces), len(LAYERS))
    mean_D = begin_VD.mean(0)
    _, _, axes_RD = torch.pca_lowrank(begin_VD - mean_D, RANK, center=False, niter=4)
    axes_DR = axes_RD
    own = {
        "table.weight": (begin_VD - mean_D) @ axes_DR,
        "widen.weight": axes_DR,
        "widen.bias": mean_D + weights["embeddings.token_type_embeddings.weight"][0],
        "places.weight": weights["embeddings.position_embeddings.weight"][:LONGEST],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for mine, theirs in enumerate(LAYERS):
        old, new = f"encoder.layer.{theirs}.", f"layers.{mine}."
        for kind in ("weight", "bias"):
            heads = [
                weights[f"{old}attention.self.{part}.{kind}"] for part in ("query", "key", "value")
            ]
            own[f"{new}qkv.{kind}"] = torch.cat(heads)
            own[f"{new}out.{kind}"] = weights[f"{old}attention.output.dense.{kind}"]
            own[f"{new}norm_attention.{kind}"] = weights[f"{old}attention.output.LayerNorm.{kind}"]
            own[f"{new}up.{kind}"] = weights[f"{old}intermediate.dense.{kind}"]
            own[f"{new}down.{kind}"] = weights[f"{old}output.dense.{kind}"]
            own[f"{new}norm.{kind}"] = weights[f"{old}output.LayerNorm.{kind}"]
            if mine == len(LAYERS) - 1:
                own[f"{new}norm.{kind}"] = own[f"{new}norm.{kind}"] * SCALE
    network.load_state_dict(own)
    return network


def _words(work: Path) -> tuple[dict[str, dict[str, Meaning]], list[str], Tensor]:
    said, pieces = json.loads((work / "words.json").read_text())
    meanings = {slot: {w: Meaning(*m) for w, m in found.items()} for slot, found in said.items()}
    return meanings, pieces, torch.load(work / "words.pt", weights_only=True)


def _kept(work: Path, pieces: Sequence[str]) -> list[int]:
    """The pieces that a sentence had, and the shortest, of which all words can be made."""
    ids_N = torch.load(work / "told.pt", weights_only=True, mmap=True)["ids"]
    times = torch.bincount(ids_N.long(), minlength=len(pieces)).tolist()
    short = re.compile(r"(##)?[^#]{1,2}")
    return [
        i
        for i, piece in enumerate(pieces)
        if times[i] or piece in SPECIAL or short.fullmatch(piece)
    ]


def export(work: Path) -> None:
    """To where the package has it."""
    _, pieces, _ = _words(work)
    weights = torch.load(work / "student.pt", weights_only=True)
    kept = _kept(work, pieces)
    weights["table.weight"] = weights["table.weight"][kept]
    network = SmallNetwork(len(kept), len(LAYERS))
    network.load_state_dict(weights)
    write_small(network, [pieces[i] for i in kept], FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")


def main() -> None:
    """Take the named steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("steps", nargs="+", choices=("words", "teach", "learn", "export"))
    parser.add_argument("--minutes", type=float, default=1e6, help="of teaching, at most")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for step in asked.steps:
        if step == "words":
            find_words(asked.wordnet, asked.work)
        elif step == "teach":
            teach(asked.wordnet, asked.work, asked.minutes)
        elif step == "learn":
            learn(asked.work)
        else:
            export(asked.work)


if __name__ == "__main__":
    main()
