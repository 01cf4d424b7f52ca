"""Works that wait for companies are interleaved."""

import pytest

from server.interleave import Work, interleave, run_to_end


def work(name: str, rounds: int, seen: list[str]) -> Work[str]:
    for number in range(rounds):
        seen.append(f"{name}{number} sent")
        try:
            yield
        except GeneratorExit:
            seen.append(f"{name} ended")
            raise
        seen.append(f"{name}{number} averaged")
    return name


def test_one_is_averaged_while_the_messages_of_the_other_are_on_their_way() -> None:
    seen: list[str] = []
    assert interleave([work("a", 2, seen), work("b", 2, seen)]) == ["a", "b"]
    assert seen == [
        "a0 sent",
        "b0 sent",
        "a0 averaged",
        "a1 sent",
        "b0 averaged",
        "b1 sent",
        "a1 averaged",
        "b1 averaged",
    ]


def test_results_have_the_order_of_the_works_and_not_of_their_ends() -> None:
    assert interleave([work("a", 3, []), work("b", 0, []), work("c", 1, [])]) == ["a", "b", "c"]
    assert run_to_end(work("a", 2, [])) == "a"


def test_what_one_raises_ends_the_others() -> None:
    def fails() -> Work[str]:
        yield
        raise ValueError("a company failed")

    seen: list[str] = []
    with pytest.raises(ValueError, match="a company failed"):
        interleave([fails(), work("b", 9, seen)])
    assert seen == ["b0 sent", "b ended"]
