"""What to tell somebody who has no CIFAR-10."""

from harness.data.download import url
from harness.data.layouts.official import BINARY


def how_to_get_cifar10() -> str:
    """One paragraph: every way to get CIFAR-10 onto this machine."""
    return (
        f"Ways to get CIFAR-10: connect this machine to the network and run the same command again, which downloads "
        f"{url()} (162 MB; $CIFAR10_URL names a mirror); or fetch {BINARY.archive} on another machine and put it, "
        f"packed or unpacked, into ./data; or point $CIFAR10_DIR at a copy you have, in any of the layouts "
        f"official binary, official python, Hugging Face parquet (plain_text/*.parquet), or a folder tree "
        f"train/<class>/*.png and test/<class>/*.png."
    )
