"""What the command line makes of the flags that each stage may have for itself."""

import argparse

import pytest

from cosmos_lab.cli import train
from cosmos_lab.train.clips import ClipSource
from cosmos_lab.train.ranks import Ranks


def parsed(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


def plans(*words):
    args = parsed(*words)
    trained = [stage for stage in args.stages if stage in train.TRAINED]
    stages = [train._stage(args, i, name, ClipSource(count=4), Ranks()) for i, name in enumerate(trained)]
    return [(s.plan.minutes, s.plan.lr, s.batch, s.plan.optimizer) for s in stages]


def test_each_stage_takes_its_own_numbers():
    given = plans("tokenizer", "world", "--minutes", "2", "5", "--lr", "0.1", "0.2", "--batch", "3", "4")
    assert given == [(2, 0.1, 3, "muon"), (5, 0.2, 4, "muon")]


def test_defaults_are_those_of_the_stage_and_one_limit_serves_all():
    assert plans("tokenizer", "world", "reader", "--minutes", "7") == [
        (7, 1e-3, 8, "muon"), (7, 1.2e-3, 64, "muon"), (7, 2e-3, 32, "adamw")
    ]  # fmt: skip
    assert [plan[3] for plan in plans("world", "reader", "--optimizer", "adamw")] == ["adamw", "adamw"]


@pytest.mark.parametrize("words, said", [
    (("tokenizer", "world", "--lr", "0.1"), "--lr takes one number for each of tokenizer, world"),
    (("tokenizer", "--batch", "1", "2"), "--batch takes one number for each of tokenizer"),
    (("export", "--batch", "1"), "of which none is asked for"),
    (("tokenizer", "world", "reader", "--minutes", "1", "2"), "--minutes takes one number, or one for each"),
])  # fmt: skip
def test_a_wrong_count_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        train.run(parsed(*words))
