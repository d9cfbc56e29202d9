"""Texts that models are compared on: real ones of every size, and what tokenizers stumble over."""

from __future__ import annotations

ODD_TEXTS = [
    "",
    " ",
    "x",
    "hello",
    "hello",
    "the " * 200,
    "hello world " * 40,
    "abcdefghij" * 12 + " after a word of 120 letters",
    "z" * 9000,
    "word " * 3000,
    "🎉 emoji 👨‍👩‍👧‍👦 family 😀 🇩🇪",
    "東京は日本の首都です。",
    "مرحبا بالعالم، السَّلامُ عليكم",
    "e\u0301 n\u0303 and \u0301 alone, cafe\u0301",
    "ÉCOLE straße ẞ ﬁne İstanbul ΟΔΥΣΣΕΥΣ",
    "bat bats bat bat's BAT Bats!",
    "!!! ... ?! -- ,;: \"quotes\" 'single' (brackets) [more] {braces} <tags/>",
    "_ __ ___ _private __init__ under_score",
    "the and of in",
    "the a an is",
    "##ing ##s un##able",
    "[MASK] [SEP] [UNK] [CLS] [PAD]",
    "a[MASK]b bat[SEP]cave <mask> </s> <s> <unk> <pad>",
    "[unused0] [unused1]",
    "tab\there\0nul\x1bescape\x85next\u2028line\ufeffbom\u200bzero\u00adsoft",
    "\n\n\r\n\t",
    "bat° bat°9 9° ° 9°9 cave°°",
    "bat bat° bats cave°bat cave flying fly°fly",
    "bat°x feathers feather flies birds",
    "the bat " + "q" * 40 + " " + "q" * 41,
    "3.14 1,000,000 0x1F v2.0-rc1 U.S.A. C++ c# don't won't e-mail",
    "https://example.org/a/b?c=d&e=f#g user@host.example",
    "def f(x: int = 1) -> list[str]: return [str(x)] * 2",
    "bank of the river, the money bank, the bank's money, banking on books",
    "ａｂｃ ｆｕｌｌ ｗｉｄｔｈ ①②③ ½ ²",
    "word" + "\u0300" * 60,
]

SIZES = (12, 25, 50, 90, 160, 280, 700)


def by_length(texts: list[str]) -> list[int]:
    """Rows of texts from the shortest to the longest: fastembed pads texts to the longest among neighbours."""
    return sorted(range(len(texts)), key=lambda row: len(texts[row]))


def sample_texts(docstrings: list[str], count: int) -> list[str]:
    """Pieces of ``count`` docstrings, spread over all and cut to various sizes, and the odd texts among them."""
    spread = docstrings[:: max(1, len(docstrings) // count)][:count]
    pieces = [text[: SIZES[number % len(SIZES)]] for number, text in enumerate(spread)]
    middle = len(pieces) // 2
    return [*pieces[:middle], *ODD_TEXTS, *pieces[middle:]]


def sample_pairs(texts: list[str]) -> list[tuple[str, str]]:
    """Pairs of queries and documents: short and long on either side, and empty ones."""
    shorts = ["what is the capital city", "hello", "", "bat [SEP] cave", "東京 where"]
    long = "where is the river bank with the money of the birds that read books " * 4
    pairs = [(shorts[number % len(shorts)], text) for number, text in enumerate(texts)]
    pairs += [(text, shorts[number % len(shorts)]) for number, text in enumerate(texts[::7])]
    pairs += [(long[: 40 + 9 * number], text) for number, text in enumerate(texts[::9])]
    return [*pairs, ("", ""), ("", long), (long, ""), (long, long), ("a " * 5000, "b"), ("a", "b " * 5000)]
