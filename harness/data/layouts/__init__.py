"""The layouts in which CIFAR-10 is distributed, one reader each. `recognise` finds the one of a folder or archive."""

import os
from pathlib import Path

from harness.data.layouts import kaggle, official, parquet, tree
from harness.data.layouts.source import Source, reading


def recognise(place: Path) -> Source | None:
    """Return the data set in a folder or archive, or None if nothing there looks like CIFAR-10.

    Raises BadInput if the place cannot be read. The data set may still prove damaged when it is decoded. That is an
    error, and no other place is searched: otherwise users might train on other data than they think.
    """
    with reading(place):
        if place.is_file():
            return official.archive_at(place)
        os.listdir(place)  # for an unreadable folder, so that the error names the folder and not a file in it
        # Unpacked before packed: the same images, and faster to read.
        for find in (official.find_folder, parquet.find, kaggle.find, tree.find, official.find_archive):
            if source := find(place):
                return source
        return None
