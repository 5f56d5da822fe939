"""`consilium data build | check | show | convert | texts`: instruction data from images and what is known of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VERBS = {
    "build": "make conversations of images with labels, masks, boxes, reports or question-answer pairs",
    "check": "find boxes, texts, splits and labels that are wrong; exits non-zero when there are errors",
    "show": "open a sample in the browser, boxes drawn",
    "convert": "write the conversations as TRL, LLaMA-Factory, ms-swift, LLaVA or InternVL read them",
    "texts": "make an index of reports and answered questions, for `consilium ask --texts`",
}


@dataclass(frozen=True)
class Build:
    """Build instruction data; a killed build goes on where it was, and gives the same bytes."""

    data: Path
    """Images with what is known of them: a folder in any known layout, or its index file."""
    out: Path
    """Folder for records-*.jsonl, records-*.parquet, manifest.json and the datasheet README.md."""
    evidence: Path | None = None
    """Folder of out-of-fold opinions and cases, DOMAIN.jsonl (`consilium specialists train --zoo --oof DIR`)."""
    layout: str | None = None
    """Layout of the data; found by its content when not named."""
    seed: int = 0
    split: str = "train"
    """train, val, test or all."""
    exclude: tuple[str, ...] = ()
    """Sets to leave out, besides those that the generalist must never see."""
    allow: tuple[str, ...] = ()
    """Sets to take in although they are left out by default."""
    restricted: bool = False
    """Take in images whose terms keep them out of weights that ship, for training of one's own."""
    kinds: tuple[str, ...] = ()
    """Kinds of conversation; all when none is named."""
    forms: int = 1
    """Wordings of each fact by each kind."""
    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    """Processes on this machine with --engine ray; one a core when not named."""
    address: str | None = None
    """A running Ray cluster, e.g. auto or ray://HOST:10001; its machines must see the same folders."""
    texts: bool = False
    """Put reports and answered questions of other cases, as search by text finds them, into some prompts."""
    writer: str = "templates"
    """templates, or the address of an OpenAI-compatible server whose model rewords them (key: CONSILIUM_API_KEY)."""
    writer_model: str = ""
    """Name of the model on that server."""
    writer_images: bool = False
    """Show the images to the model, too: they then leave this machine."""
    requests_a_minute: float = 0.0
    """Asked of the server at most; 0 for as many as it takes."""
    most_requests: int | None = None
    """Of the whole build; afterwards the templates' words are kept."""
    most_tokens: int | None = None
    temperature: float = 0.7
    language: str = "en"
    """Language that the model writes."""


@dataclass(frozen=True)
class Texts:
    """Make an index of reports and answered questions; its texts are shown with source and license, and teach none."""

    data: Path
    """Images with questions and answers, or reports: a folder in any known layout, or its index file."""
    out: Path
    """Folder for texts.jsonl, texts.faiss and texts.json; it holds the texts themselves: keep it as the data."""
    layout: str | None = None
    """Layout of the data; found by its content when not named."""
    split: str = "train"
    """train, val, test or all."""
    exclude: tuple[str, ...] = ()
    """Sets to leave out, besides those that the generalist must never see."""
    allow: tuple[str, ...] = ()
    """Sets to take in although they are left out by default."""


def _build(arguments: list[str]) -> int:
    import tyro

    config = tyro.cli(Build, args=arguments, prog="consilium data build")
    manifest = build(config)
    rows = [f"  {name:26}{row['records']:>8}{row['new_facts']:>10}" for name, row in manifest["kinds"].items()]
    lost = sum(manifest["lost"].values())
    sys.stdout.write("\n".join([
        f"{manifest['records']} conversations about {manifest['images']} images, {manifest['facts']} distinct facts.",
        f"  {'kind':26}{'records':>8}{'new facts':>10}", *rows,
        f"{lost} conversations lost to filters, {len(manifest['left_out'])} images left out; see "
        f"{config.out / 'README.md'}", ""]))
    for name, reason in list(manifest["left_out"].items())[:10]:
        sys.stdout.write(f"left out: {name}: {reason}\n")
    return 0


def build(config: Build) -> dict:
    """Build what the flags say and return the manifest."""
    from rich.progress import Progress

    from instruct_data.build import finish, finished
    from instruct_data.engine import Plan, local, parts, texts_of
    from instruct_data.records import OUT_OF_DOMAIN
    from instruct_data.writers.language_model import WriterConfig

    writer = None if config.writer == "templates" else WriterConfig(
        config.writer, config.writer_model, config.temperature, config.language, config.requests_a_minute,
        config.most_requests, config.most_tokens, cache=config.out / ".writer", images=config.writer_images)
    excluded = (OUT_OF_DOMAIN | set(config.exclude)) - set(config.allow)
    plan = Plan(config.data, config.out, config.evidence, config.layout, config.seed, config.split,
                tuple(sorted(excluded)), config.restricted, config.kinds, config.forms,
                texts=config.texts, writer=writer)
    done = finished(plan)
    if done is not None:
        return done
    texts_of(plan)  # once, before the parts share it
    with Progress(transient=True) as bar:
        task = bar.add_task("parts", total=parts(plan))

        def one(number: int) -> None:
            bar.advance(task)

        if config.engine == "ray":
            from instruct_data.on_ray import run

            run(plan, one, config.workers, config.address)
        else:
            local(plan, one)
    return finish(plan)


def _check(arguments: list[str]) -> int:
    import tyro

    from instruct_data.checks import Check, run_check

    return run_check(tyro.cli(Check, args=_folder_first(arguments), prog="consilium data check"))


def _show(arguments: list[str]) -> int:
    import tyro

    from instruct_data.show import Show, run_show

    return run_show(tyro.cli(Show, args=_folder_first(arguments), prog="consilium data show"))


def _folder_first(arguments: list[str]) -> list[str]:
    """Let the built folder stand first without its flag."""
    return arguments if not arguments or arguments[0].startswith("-") else ["--folder", *arguments]


def _convert(arguments: list[str]) -> int:
    import tyro

    from instruct_data.formats import Convert, convert

    config = tyro.cli(Convert, args=arguments, prog="consilium data convert")
    done = convert(config.data, config.out, to=config.to, model=config.model, images=config.images)
    sys.stdout.write(f"{done.written} conversations in {done.file}\n")
    for reason, count in done.left_out.items():
        sys.stdout.write(f"left out: {count} ({reason})\n")
    return 0


def _texts(arguments: list[str]) -> int:
    import tyro

    from instruct_data.records import OUT_OF_DOMAIN
    from instruct_data.retrieval import counted, make_index

    config = tyro.cli(Texts, args=arguments, prog="consilium data texts")
    excluded = (OUT_OF_DOMAIN | set(config.exclude)) - set(config.allow)
    index = make_index(config.data, config.out, layout=config.layout, split=config.split, exclude=excluded)
    sys.stdout.write(f"{len(index.entries)} texts in {config.out}, vectors by {index.encoder.name}\n")
    for (what, source, license), count in sorted(counted(index).items()):
        sys.stdout.write(f"{count:8}  {what}  {source}  {license}\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `consilium data VERB`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in VERBS:
        known = "\n".join(f"  {verb:9}{what}" for verb, what in VERBS.items())
        sys.stdout.write(f"usage: consilium data VERB --help\n{known}\n")
        return 0 if arguments[:1] in ([], ["--help"], ["-h"]) else 2
    run: dict[str, Callable[[list[str]], int]] = {
        "build": _build, "check": _check, "show": _show, "convert": _convert, "texts": _texts}
    return run[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
