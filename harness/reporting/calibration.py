"""The A/A test as a page and a figure."""

from typing import Any

from matplotlib.figure import Figure

from harness.analysis import ALPHA, MARGIN
from harness.reporting.tables import Table
from harness.reporting.text import markdown_table

BLUE, GREEN = "#0072B2", "#009E73"


def sentences(document: dict[str, Any]) -> list[str]:
    """What was found, each with the numbers that say so."""
    single, family = document["single"], document["family"]
    return [
        f"{document['runs']} runs of one recipe: accuracy {document['mean']:.4f}, sd {document['sd']:.4f} "
        f"[{document['sd_interval'][0]:.4f}, {document['sd_interval'][1]:.4f}]; skewness {document['skewness']:.2f}, "
        f"excess kurtosis {document['excess_kurtosis']:.2f} (both 0 for a normal distribution; Shapiro and Wilk's "
        f"test: p = {document['normal_p']:.2f}).",
        f"Of {single['simulated']:,} single comparisons of these runs with each other, {single['different']:.2%} were "
        f"called better or worse (± {single['standard_error']:.2%}; aimed at: {ALPHA:.0%}).",
        f"Of {family['simulated']:,} families of {document['variants']} variants, {family['families']:.2%} had at "
        f"least one that was (± {family['standard_error']:.2%}; aimed at: {ALPHA:.0%} or less). "
        f"{family['equivalent']:.1%} of these comparisons were called equivalent.",
    ]


def limits(document: dict[str, Any]) -> str:
    """What the numbers hold for."""
    return (
        f"No run is twice in a family. A family takes {(document['variants'] + 1) * document['looks'][-1]} of the "
        f"{document['runs']} runs, so the families overlap, and the shares are those of these runs: their own sampling "
        "error is larger than what ± says. The runs of a family share no seed, so nothing is gained here by pairs. "
        "Real families share seeds, and may find more by it; where a variant spreads more than the baseline, they find "
        "less."
    )


def method(document: dict[str, Any]) -> str:
    """How the runs are compared, in a sentence or two."""
    looks = ", ".join(map(str, document["looks"]))
    return (
        "Runs that differ in nothing but their seed are compared as if they were variants, by the code that judges the "
        f"experiments: looks after {looks} seeds, Holm's correction. Whatever it calls different is an error."
    )


def power(document: dict[str, Any]) -> str:
    """The power curve as a table."""
    rows = [
        [f"{row['effect_in_sd']:g}", f"{100 * row['effect']:.2f}", f"{row['different']:.1%}", f"{row['seeds']:.1f}"]
        for row in document["power"]
    ]
    header = ["effect, sd of a run", "in points", "called better or worse", "seeds on average"]
    return markdown_table(Table("How much is found of an effect that is added to every variant", header, rows, []))


def told(document: dict[str, Any]) -> str:
    """All that was found, as Markdown without a heading."""
    found = "\n".join(f"- {sentence}" for sentence in sentences(document))
    return "\n\n".join([method(document), found, limits(document), power(document)])


def markdown(document: dict[str, Any], image: str) -> str:
    """The page. image: the name of the figure, in the same folder."""
    parts = [
        "# An A/A test of the statistics",
        told(document),
        f"![Share of comparisons called better or worse, by the size of the effect]({image})",
        f"    {document['command']}",
    ]
    return "\n\n".join(parts) + "\n"


def figure(document: dict[str, Any]) -> Figure:
    """The power curve, with the seeds that it took on the right axis."""
    drawn = Figure(figsize=(6.5, 4), layout="constrained")
    axes = drawn.subplots()
    points = [100 * row["effect"] for row in document["power"]]
    axes.axhline(100 * ALPHA, color="black", lw=0.8, ls=":")
    axes.axvspan(0, 100 * MARGIN, color="#dddddd", lw=0)
    axes.plot(points, [100 * row["different"] for row in document["power"]], color=BLUE, marker="o")
    axes.set_xlabel("effect, points of accuracy (shaded: less than half a point, which counts as none)")
    axes.set_ylabel("called better or worse, %", color=BLUE)
    axes.set_ylim(0, 102)
    seeds = axes.twinx()
    seeds.plot(points, [row["seeds"] for row in document["power"]], color=GREEN, marker="s", ls="--")
    seeds.set_ylabel("seeds on average", color=GREEN)
    seeds.set_ylim(0, document["looks"][-1] + 1)
    axes.set_title(f"{document['runs']} runs, sd {100 * document['sd']:.2f} points, {document['variants']} variants")
    return drawn
