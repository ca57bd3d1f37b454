"""Types of command-line options, for argparse."""

import argparse


def positive(text: str) -> int:
    """Parses a whole number from 1, as an argparse type. Raises ArgumentTypeError, and ValueError for no number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {number}")
    return number


def port_number(text: str) -> int:
    """Parses a TCP port, as an argparse type. Raises ArgumentTypeError, and ValueError for no number."""
    number = int(text)
    if not 0 < number < 1 << 16:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65535, not {number}")
    return number
