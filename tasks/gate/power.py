"""How many test images the tests of the gate take to decide anything, and notes on groups that have fewer.

Shapes: N images.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

from tasks.gate.checks import Check, Verdict
from tasks.gate.paired_tests import NORMAL, tango_bounds, tango_z

MAX_IMAGES = 2**40  # a test that takes more never decides
MAX_NAMES = 3  # in a note


def images_to_refuse_hits(tests: int, margin: float, error: float) -> int | None:
    """Returns the fewest images of a group at which `compare_groups` can refuse it alone, among `tests` groups.

    With fewer, it passes even if only the live model recognizes any of them. None: it passes with any number.
    """
    return _fewest(lambda count: NORMAL.cdf(tango_z(0, count, count, -margin)) * tests < error)


def images_to_refuse_gains(tests: int, error: float) -> int | None:
    """Returns the fewest images of a slice at which `compare_gains` can refuse it alone, among `tests` slices.

    The statistic is smallest if all images lose the same, and much more than the margin. With the one more gain, it is
    then (1 - N) / 2, with N degrees of freedom.
    """
    from scipy.stats import t as student

    return _fewest(lambda count: float(student.cdf((1 - count) / 2, count)) * tests < error)


def images_to_pass(margin: float, error: float) -> int | None:
    """Returns the fewest images on which `compare_hits` passes a model that answers as the live one does."""
    return _fewest(lambda count: tango_bounds(0, 0, count, error)[0] > -margin)


def _fewest(suffices: Callable[[int], bool]) -> int | None:
    """Returns the smallest number that suffices, if all larger ones do as well; None if none up to MAX_IMAGES does."""
    high = 1
    while not suffices(high):
        high *= 2
        if high > MAX_IMAGES:
            return None
    numbers = range(high // 2 + 1, high + 1)
    return numbers[bisect_left(numbers, True, key=suffices)]


def note_groups(sizes: Mapping[str, int], needed: int | None) -> list[Check]:
    """Returns a note that names the groups with fewer images than it takes to refuse one; none if there are none."""
    small = sorted((size, name) for name, size in sizes.items() if needed and size < needed)
    if not small:
        return []
    names = ", ".join(f"{name} ({size})" for size, name in small[:MAX_NAMES])
    more = f" and {len(small) - MAX_NAMES} more" if len(small) > MAX_NAMES else ""
    text = f"{names}{more} cannot be refused by themselves"
    return [Check(f"groups of fewer than {needed} test images", text, f"{needed} test images each", Verdict.NOTE)]


def note_images(check: Check, count: int, margin: float, error: float) -> list[Check]:
    """Returns a note if a comparison of hits is undecided on fewer images than an equal model takes to pass."""
    needed = images_to_pass(margin, error)
    if check.verdict is not Verdict.UNDECIDED or (needed and count >= needed):
        return []
    return [Check("test images", str(count), f"{needed} for an equal model to pass", Verdict.NOTE)]
