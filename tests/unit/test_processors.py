"""Workers keep out of the way of the processor that devices interrupt."""

import pytest

from wallet_service.processors import calm

DISK_ON_1 = """\
           CPU0       CPU1       CPU3
  1:          9          0          1  IO-APIC   1-edge      i8042
 36:          0      19574          0  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
LOC:    9000000       1000       1000  Local timer interrupts
ERR:          0
"""


@pytest.mark.parametrize(
    ("processors", "wanted", "left"),
    [
        ([0, 1, 3], 1, [0, 3]),
        ([0, 1, 3], 2, [0, 3]),
        ([0, 1, 3], 3, [0, 1, 3]),
        ([0, 1], 1, [0]),
        ([1], 1, [1]),
    ],
)
def test_the_processor_of_the_disk_is_left_to_others_where_it_can_be(
    processors: list[int], wanted: int, left: list[int]
) -> None:
    assert calm(processors, DISK_ON_1, wanted=wanted) == left


def test_where_interrupts_are_spread_no_processor_is_left_out() -> None:
    spread = DISK_ON_1.replace("0      19574          0", "19574      19574      19574")

    assert calm([0, 1, 3], spread, wanted=1) == [0, 1, 3]


def test_without_devices_no_processor_is_left_out() -> None:
    assert calm([0, 1], "           CPU0       CPU1\n", wanted=1) == [0, 1]
