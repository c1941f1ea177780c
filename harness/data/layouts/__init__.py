"""The layouts CIFAR-10 comes in, one reader each. `recognise` says which one a folder or archive holds."""

import os
from pathlib import Path

from harness.data.layouts import official, parquet, tree
from harness.data.layouts.source import Source, reading


def recognise(place: Path) -> Source | None:
    """The data set in a folder, or in the archive that `place` is; None where nothing looks like CIFAR-10.

    Raises BadInput where the place cannot be read. What it finds may still turn out broken when it is decoded:
    that is an error then, never a reason to look elsewhere, so that nobody trains on other data than they think.
    """
    with reading(place):
        if place.is_file():
            return official.archive_at(place)
        os.listdir(place)  # a folder that may not be read is named itself, not the first file missed in it
        # Unpacked before packed: the same images, and faster to read.
        return official.find_folder(place) or parquet.find(place) or tree.find(place) or official.find_archive(place)
