"""Ten checks of this machine. The exit code is 1 where one found a problem."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: every check is quick."""


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.runtime.doctor import doctor

    findings = doctor()
    print(findings)
    return int(any(row[""] != "ok" for row in findings))
