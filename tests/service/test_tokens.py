"""service.tokens: what opens a stream in place of a key."""

from __future__ import annotations

import pytest

from service.tokens import TOKEN_LIFE_S, Mint
from tests.clock import Clock

SECRET = "s" * 32
KEY_ID = "0123456789abcdef"


def test_a_token_tells_its_key_until_it_expires() -> None:
    clock = Clock()
    mint = Mint(SECRET, clock=clock)
    token = mint.make(KEY_ID)
    clock.now_s += TOKEN_LIFE_S - 1
    assert mint.check(token) == KEY_ID
    clock.now_s += 1
    assert mint.check(token) is None


def test_replicas_with_one_secret_take_each_others_tokens_and_others_do_not() -> None:
    token = Mint(SECRET, clock=Clock()).make(KEY_ID)
    assert Mint(SECRET, clock=Clock()).check(token) == KEY_ID
    assert Mint("t" * 32, clock=Clock()).check(token) is None
    assert Mint(None, clock=Clock()).check(Mint(None, clock=Clock()).make(KEY_ID)) is None


def test_nothing_of_a_token_can_be_changed() -> None:
    mint = Mint(SECRET, clock=Clock())
    token = mint.make(KEY_ID)
    for place in range(len(token)):
        forged = token[:place] + ("1" if token[place] != "1" else "2") + token[place + 1 :]
        # Some bits of the last digit mean nothing, but it is the text that is compared.
        assert mint.check(forged) is None


@pytest.mark.parametrize("text", ["", "a.b.c.d", "0" * 10_000, "\u0661.1.x.y", "...", "\x00"])
def test_what_is_no_token_is_none(text: str) -> None:
    assert Mint(SECRET, clock=Clock()).check(text) is None
