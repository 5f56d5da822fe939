"""How near a text comes to another: exact, by tokens, BLEU, ROUGE-L, METEOR and SPICE by stated stand-ins; all 0..1.

It knows no task and finds no names. Two stand-ins, because the originals need WordNet and Java:
METEOR here matches words and their stems but no synonyms, so it is never above the original;
SPICE's scene graph is here the set of statements that a caller reads out of a text (`agreement`).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Hashable, Set
from functools import cache
from typing import Any

from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalized(text: str) -> str:
    """Return the text in lower case without articles and with blanks for punctuation: "x-ray" are two words.

    SQuAD's rule (Rajpurkar et al., 2016) deletes punctuation and makes them one; all else is as there.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(said: str, truth: str) -> bool:
    """Tell whether two texts are the same once normalized."""
    return normalized(said) == normalized(truth)


def token_f1(said: str, truth: str) -> float:
    """Return the F1 of the tokens of two normalized texts, each token as often as it stands."""
    words, wanted = normalized(said).split(), normalized(truth).split()
    shared = sum((Counter(words) & Counter(wanted)).values())
    return 2 * shared / (len(words) + len(wanted)) if shared else float(words == wanted)


def token_recall(said: str, truth: str) -> float:
    """Return the share of the truth's tokens that were said."""
    wanted = Counter(normalized(truth).split())
    shared = sum((Counter(normalized(said).split()) & wanted).values())
    return shared / wanted.total() if wanted else 1.0


def bleu(said: str, truth: str) -> float:
    """Return sentence BLEU-4 of sacrebleu (13a tokens, exponential smoothing, orders that the text is long enough for).

    Papineni et al., 2002; Post, 2018.
    """
    return min(1.0, _bleu().sentence_score(said, [truth]).score / 100)


def rouge_l(said: str, truth: str) -> float:
    """Return the F1 of ROUGE-L over stemmed words (Lin, 2004)."""
    return _rouge().score(truth, said)["rougeL"].fmeasure


def meteor(said: str, truth: str) -> float:
    """Return METEOR over words and stems, without synonyms: a stand-in (Banerjee and Lavie, 2005)."""
    words, wanted = normalized(said).split(), normalized(truth).split()
    if not words or not wanted:
        return float(words == wanted)
    return float(single_meteor_score(wanted, words, wordnet=NoSynonyms()))  # pyright: ignore[reportArgumentType]


def mbmr(said: str, truth: str) -> float:
    """Return BiRD's mBMR, the mean of BLEU-4, METEOR and ROUGE-L, with the stand-in for METEOR."""
    return (bleu(said, truth) + meteor(said, truth) + rouge_l(said, truth)) / 3


def agreement(said: Set[Hashable], truth: Set[Hashable]) -> float:
    """Return the F1 of two sets of statements: SPICE's form, over statements instead of a parsed scene graph."""
    total = len(said) + len(truth)
    return 2 * len(said & truth) / total if total else 1.0


class NoSynonyms:
    """Stands where METEOR asks for WordNet, and knows no word."""

    def synsets(self, word: str) -> list[Any]:
        """Return nothing."""
        return []


@cache
def _bleu() -> BLEU:
    return BLEU(effective_order=True)


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)
