"""Findings of audits for people: a row per dataset, and a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autods.core.output import counted

NAMED = 20  # classes named that miss in a split
EXAMPLES = 5  # unreadable images named
LEGEND = (
    "broken: images that cannot be decoded; copies: images that repeat an earlier one, byte for "
    "byte; in test: images of train and dev that are in test too; conflicts: images that appear "
    "under several classes; missing: classes without an image in some split; "
    "ratio: the largest class of train divided by the smallest. Protocol clean."
)

Findings = dict[str, Any]  # content of an audit.json, see `autods.checks.audit`


def row(findings: Findings) -> dict[str, Any]:
    """Return the row of a dataset in the table of audits; unknown is ``None``."""
    clean = findings["protocols"]["clean"]
    duplicates, classes = clean["duplicates"], clean["classes"]
    train = classes.get("train")
    ratio = train and train["largest"]["images"] / train["smallest"]["images"]
    return {
        "dataset": findings["dataset"],
        "images": findings["images"],
        "broken": findings["unreadable"]["images"],
        "copies": duplicates["copies"],
        "in test": sum(n for pair, n in duplicates["across"].items() if pair.endswith(" in test")),
        "conflicts": duplicates["conflicts"]["images"],
        "missing": len({name for split in classes.values() for name in split["missing"]}),
        "ratio": ratio and round(ratio, 1),
    }


def features_row(name: str, findings: Findings) -> dict[str, Any]:
    """Return the row of a dataset in the table of what features say (`audit_features`)."""
    near, labels = findings["near"], findings["labels"]
    return {
        "dataset": name,
        "images": findings["rows"],
        "near": near["images"],
        "near test": sum(n for pair, n in near["across"].items() if pair.endswith(" in test")),
        "two classes": near["conflicts"],
        "labels": labels and labels["suspicious"],
        "agree": labels and f"{labels['accuracy']:.1%}",
    }


def write_report(audits: Sequence[Findings], features: Findings | None = None) -> str:
    """Return a report over several datasets as Markdown; ``features`` are of `audit_features`."""
    keys = list(row(audits[0])) if audits else []
    lines = ["# Audit", "", LEGEND, ""]
    lines += ["| " + " | ".join(keys) + " |"]
    lines += ["|" + "|".join([" --- ", *(" ---: " for _ in keys[1:])]) + "|"]
    for findings in audits:
        lines.append("| " + " | ".join(_cell(value) for value in row(findings).values()) + " |")
    for findings in audits:
        lines += ["", *_section(findings)]
    if features is not None:
        lines += ["", *_by_features(features)]
    return "\n".join(lines) + "\n"


def _by_features(features: Findings) -> Iterator[str]:
    yield f"# By the features of {features['encoder']}"
    yield ""
    yield f"Near-duplicates: a cosine of at least {features['threshold']}, or pixels that agree."
    yield pixels_line(features["pixels"])
    yield ""
    for item in features["between"]:
        yield f"- {' and '.join(item['datasets'])}: {item['pairs']:,} pairs"
    for pair in features["examples"][:EXAMPLES]:
        yield f"    - {_pair(pair)}"
    for name, findings in features["datasets"].items():
        near, labels = findings["near"], findings["labels"]
        yield ""
        yield f"## {name}: {counted(near['images'], 'image')} with a near-duplicate"
        yield ""
        for pair in near["examples"][:NAMED]:
            yield f"- {_pair(pair)}"
        if labels is not None:
            yield ""
            yield f"Suspicious labels: {labels['suspicious']:,} of {labels['judged']:,}."
            yield ""
            for label in labels["list"][:NAMED]:
                yield (
                    f"- {_image(label)}: {label['p_given']:.2%}; {label['likely']}: "
                    f"{label['p_likely']:.0%}"
                )


def pixels_line(pixels: Findings) -> str:
    """Say what the pixels of images added to their features."""
    if not pixels["images"]:
        return "Pixels were not compared: no images are at hand, or --fast."
    text = (
        f"The pixels of {counted(pixels['images'], 'image')} were compared, too; they add "
        f"{counted(pixels['added'], 'pair')}."
    )
    if pixels["apart"]:
        text += (
            f" Not counted: {counted(pixels['apart'], 'pair')} of near features but other pixels, "
            "different images as a rule, sometimes a crop."
        )
    if pixels["crowded"]:
        text += (
            f" {counted(pixels['crowded'], 'image')} share their outline with many others; their "
            "copies are found by features alone."
        )
    return text


def _pair(pair: Findings) -> str:
    pixels = "" if pair["pixels"] is None else f", pixels {pair['pixels']:.3f}"
    return f"{' = '.join(map(_image, pair['images']))}: cosine {pair['cosine']:.3f}{pixels}"


def _image(image: Findings) -> str:
    name = image["path"] or f"{image['dataset']} sample {image['sample']}"
    return f"`{name}` ({image['class']}, {image['split']})"


def _section(findings: Findings) -> Iterator[str]:
    yield f"## {findings['dataset']}"
    yield ""
    yield f"{findings['images']:,} images, {findings['classes']:,} classes ({findings['task']})."
    yield from _decoded(findings)
    for protocol, found in findings["protocols"].items():
        yield ""
        yield f"### Protocol {protocol}"
        yield ""
        yield from _balance(found)
        yield ""
        yield from _duplicates(found["duplicates"])


def _decoded(findings: Findings) -> Iterator[str]:
    unreadable = findings["unreadable"]
    if unreadable["images"] is None:
        yield "Not decoded: whether all images can be read is not known."
    else:
        modes = ", ".join(f"{mode} {count:,}" for mode, count in findings["modes"].items())
        yield f"Modes: {modes or 'none'}."
        if findings["smallest"] is not None:
            sizes = zip(("Width", "height"), findings["smallest"], findings["largest"], strict=True)
            ranges = (f"{name} {low:,} to {high:,}" for name, low, high in sizes)
            yield f"{', '.join(ranges)} pixels."
        yield f"Unreadable images: {unreadable['images']:,}."
    if unreadable["paths"]:
        yield ""
        yield from (f"- `{path}`: {reason}" for path, reason in unreadable["paths"][:EXAMPLES])


def _balance(found: Findings) -> Iterator[str]:
    """Yield a table of the splits, and the classes missing from one."""
    yield "| split | images | smallest class | median class | largest class | missing |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for split, classes in found["classes"].items():
        small, large = classes["smallest"], classes["largest"]
        yield (
            f"| {split} | {found['images'][split]:,} | {small['images']:,} ({_plain(small)}) "
            f"| {classes['median']:,g} | {large['images']:,} ({_plain(large)}) "
            f"| {len(classes['missing']):,} |"
        )
    for split, classes in found["classes"].items():
        if missing := classes["missing"]:
            more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
            yield ""
            yield f"Missing in {split}: {', '.join(missing[:NAMED])}{more}."


def _duplicates(found: Findings) -> Iterator[str]:
    if not found["copies"]:
        yield "No content occurs twice."
        return
    yield (
        f"Contents that occur more than once: {found['contents']:,}. Copies of an image that "
        f"stands before them: {counted(found['copies'], 'image')}."
    )
    conflicts = found["conflicts"]
    counts = {
        **{f"within {split}": count for split, count in found["within"].items()},
        **found["across"],
        "conflicts": conflicts["images"],
    }
    for finding, count in counts.items():
        if count:
            what = f" ({conflicts['contents']:,} contents)" if finding == "conflicts" else ""
            yield ""
            yield f"- {finding}: {counted(count, 'image')}{what}"
            for paths in found["examples"].get(finding, ()):
                yield f"    - {' = '.join(f'`{path}`' for path in paths)}"


def flawed(found: Findings) -> bool:
    """Tell whether there are images worth naming: broken ones, copies, conflicts."""
    numbers = row(found)
    return any(numbers[key] for key in ("broken", "copies", "in test", "conflicts"))


def _plain(group: Findings) -> str:
    return str(group["class"]).replace("|", "\\|")


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
