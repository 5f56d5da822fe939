"""Rewords the drafts of templates through any OpenAI-compatible server; what the validator refuses stays a draft.

The model is told the kind of image, the facts and the draft's texts. It gets no image (unless asked for), no file name,
no patient, no group and no header value. Texts by people (reports, questions and answers) are left as they are.
The same records, configuration and answers give the same bytes, whatever the number of threads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from assistant.template import png_url
from instruct_data.items import Library
from instruct_data.records import Record, image_path
from instruct_data.writers.endpoint import Budget, Endpoint, Reply
from instruct_data.writers.validator import REASONS, Rejection, Vocabulary, reworded, slots, tags, validate
from specialists.core.errors import BadStudy
from specialists.core.study import read_study

FREE_TEXT = ("visual_grounding", "referring_classification", "referring_captioning", "image_analysis", "presence",
             "counting", "attributes", "image_kind", "grading", "comparison", "findings", "refusal", "earlier_answer")
"""Kinds whose words come from templates alone; the four of Med-GRIT first."""
WAVE = 64
"""Records whose requests are under way together; the budget is looked at between waves."""
SHORTEST_SECRET = 4
"""Characters from which on a part of a name counts as one that may not leave."""
UNSENT = ("compare:", "asked:")
"""Facts that hold file names or words by people."""

SYSTEM = (
    "You reword conversations about a medical image so that they sound natural and varied. You cannot see the image "
    "and know only what you are given. Keep every fact: all names of findings and structures word for word, whether "
    "they are present or absent, every number with its unit, percentage, count and grade, left and right, upper and "
    "lower, and every placeholder in braces such as {boxes:0,1} or {region:0}, exactly as it stands, in the order of "
    "the draft. Add no finding, no number, no place and no box. A question stays a question with the same answer; yes "
    'stays yes and no stays no. Reply with one JSON object {"texts": [...]}: one text for each text given, in their '
    "order.")
TRANSLATE = (
    " Write in {language}. Right after the translation of each claim put its English tag in square brackets, exactly "
    "as given in `tags` for that text: all of them, in their order, and no other text in square brackets.")


@dataclass(frozen=True)
class WriterConfig:
    """A language model that rewords, and what it may cost; the key is read from CONSILIUM_API_KEY."""

    url: str
    """Address of an OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1."""
    model: str = ""
    temperature: float = 0.7
    language: str = "en"
    """Language that is written, e.g. "de" or "German"."""
    requests_a_minute: float = 0.0
    """0 for as many as the server takes."""
    most_requests: int | None = None
    """Of the whole build, answers from the cache included; afterwards drafts are kept."""
    most_tokens: int | None = None
    timeout_s: float = 120.0
    cache: Path | None = None
    """Folder of answers; with it a killed build asks nothing twice."""
    kinds: tuple[str, ...] = FREE_TEXT
    """Kinds of conversation that are reworded."""
    threads: int = 8
    images: bool = False
    """Send the images too, as PNG without any header; they leave the machine."""
    seed: int = 0


class Writer(Protocol):
    """Who words records."""

    @property
    def stats(self) -> Mapping[str, int]:
        """What it did, in words and counts."""
        ...

    @property
    def rejected(self) -> Mapping[str, int]:
        """Reason -> texts that were refused for it."""
        ...

    def write(self, record: Record) -> Record:
        """Return the record in its words, or as it was."""
        ...

    def write_many(self, records: Sequence[Record]) -> list[Record]:
        """Return the records in its words, in their order."""
        ...


class TemplateWriter:
    """Leaves records as the templates worded them."""

    stats: Mapping[str, int] = {}
    rejected: Mapping[str, int] = {}

    def write(self, record: Record) -> Record:
        """Return the record."""
        return record

    def write_many(self, records: Sequence[Record]) -> list[Record]:
        """Return the records."""
        return list(records)


@dataclass
class _Job:
    """One record on its way."""

    record: Record
    messages: list[dict[str, Any]]
    seed: int
    reply: Reply | None = None
    faults: list[Rejection] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class LanguageModelWriter:
    """Rewords records through a server; see `WriterConfig`."""

    def __init__(self, config: WriterConfig, vocabulary: Vocabulary, *, endpoint: Endpoint | None = None,
                 data: Path | None = None, built: Path | None = None) -> None:
        """`data` and `built` are the folders of the images, needed only where they are sent."""
        self.config, self.vocabulary, self.data, self.built = config, vocabulary, data, built
        self.endpoint = endpoint or Endpoint(config.url, config.model, config.cache, config.temperature,
                                             config.requests_a_minute, config.timeout_s)
        self._budget = Budget(config.most_requests, config.most_tokens)
        self._counts: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    @property
    def stats(self) -> Mapping[str, int]:
        """Records reworded and kept with the reason, requests, cached answers, and refusals by reason."""
        refused = {f"refused: {reason}": n for reason, n in self.rejected.items()}
        return dict(sorted({**self._counts, **self.endpoint.counts, **refused}.items()))

    def close(self) -> None:
        """Close the connections."""
        self.endpoint.close()

    def write(self, record: Record) -> Record:
        """Return the record reworded, or as it was."""
        return self.write_many([record])[0]

    def write_many(self, records: Sequence[Record]) -> list[Record]:
        """Return the records reworded or as they were, in their order.

        Raises BadReply or ServerUnreachable where the server cannot be used at all; the cache keeps what was answered.
        """
        done = list(records)
        with ThreadPoolExecutor(max(1, self.config.threads)) as pool:
            for start in range(0, len(done), WAVE):
                jobs = {i: job for i in range(start, min(start + WAVE, len(done))) if (job := self._job(done[i]))}
                self._ask(list(jobs.values()), pool)
                again = [job for job in jobs.values() if job.faults]
                for job in again:
                    self._retry(job)
                self._ask(again, pool)
                done[start:start + WAVE] = [self._outcome(done[i], jobs.get(i)) for i in
                                            range(start, min(start + WAVE, len(done)))]
        return done

    def _job(self, record: Record) -> _Job | None:
        if record.kind not in self.config.kinds or any(m["role"] == "tool" for m in record.messages):
            self._counts["not reworded: kind"] += 1
            return None
        own = slots(record)
        if not own:
            self._counts["not reworded: no free text"] += 1
            return None
        payload = self._payload(record)
        said = json.dumps(payload, ensure_ascii=False)
        if any(secret in said for secret in private(record)):
            self._counts["not reworded: holds a name of a file or group"] += 1
            return None
        words = SYSTEM + (TRANSLATE.format(language=self.config.language) if self.config.language != "en" else "")
        content: Any = said if not self.config.images else [*self._images(record), {"type": "text", "text": said}]
        seed = int(sha256(f"{self.config.seed}/{record.id}".encode()).hexdigest()[:7], 16)
        return _Job(record, [{"role": "system", "content": words}, {"role": "user", "content": content}], seed)

    def _payload(self, record: Record) -> dict[str, Any]:
        """Return all that the model is told of a record."""
        rows = []
        for slot in slots(record):
            row: dict[str, Any] = {"role": slot.role, "text": slot.text}
            if self.config.language != "en":
                row["tags"] = tags(slot.text, self.vocabulary)
            rows.append(row)
        names = sorted({m.name for m in record.boxes})
        return {"kind_of_image": record.modality, "facts": [f for f in record.facts if not f.startswith(UNSENT)],
                "names": names, "texts": rows}

    def _images(self, record: Record) -> Iterator[dict[str, Any]]:
        for name in record.images:
            try:
                url = png_url(read_study(image_path(name, self.data or Path(), self.built or Path())))
            except BadStudy:
                self._counts["images that could not be sent"] += 1
            else:
                yield {"type": "image_url", "image_url": {"url": url}}

    def _ask(self, jobs: Sequence[_Job], pool: ThreadPoolExecutor) -> None:
        """Ask for as many jobs as the budget bears, all at once, and judge the answers in order."""
        granted = jobs[:self._budget.take(len(jobs))]
        self._counts["over the budget"] += len(jobs) - len(granted)
        replies = list(pool.map(lambda job: self.endpoint.ask(job.messages, job.seed), granted))
        self._budget.pay(replies)
        for job, reply in zip(granted, replies, strict=True):
            job.reply = reply
            job.texts, job.faults = self._judged(job.record, reply)

    def _judged(self, record: Record, reply: Reply | None) -> tuple[list[str], list[Rejection]]:
        if reply is None:
            return [], []
        texts = texts_of(reply.text)
        faults = ([Rejection("no_json", reply.text[:40])] if texts is None else
                  validate(record, texts, self.vocabulary, self.config.language))
        self.rejected.update(f.reason for f in faults)
        return texts or [], faults

    def _retry(self, job: _Job) -> None:
        """Put what was wrong into the conversation, for one more try."""
        self._counts["asked again"] += 1
        wrong = "\n".join(f"- text {f.text}: {REASONS[f.reason]} ({f.what})" for f in job.faults)
        job.messages = [*job.messages, {"role": "assistant", "content": job.reply.text if job.reply else ""},
                        {"role": "user", "content": f"Refused:\n{wrong}\nReply with the whole JSON object again."}]

    def _outcome(self, draft: Record, job: _Job | None) -> Record:
        if job is None:
            return draft
        if job.reply is None or not job.texts or job.faults:
            self._counts["kept: refused" if job.faults else "kept: no answer"] += 1
            return draft
        written = reworded(draft, job.texts, self.config.model or "language model", self.config.language)
        self._counts["reworded"] += 1
        return written


@contextmanager
def open_writer(config: WriterConfig | None, library: Library, part: tuple[int, int] = (0, 1),
                built: Path | None = None) -> Iterator[Writer]:
    """Yield the writer of a part (its number, of how many) of a build, with its share of the budget; templates without
    config.
    """
    if config is None:
        yield TemplateWriter()
        return
    writer = LanguageModelWriter(divided(config, *part), Vocabulary.of(library), data=library.data, built=built)
    try:
        yield writer
    finally:
        writer.close()


def divided(config: WriterConfig, number: int, parts: int) -> WriterConfig:
    """Return the configuration with a part's share of its budgets: all shares are the whole, whenever they are made."""
    shares = [None if most is None else most * (number + 1) // parts - most * number // parts
              for most in (config.most_requests, config.most_tokens)]
    return replace(config, most_requests=shares[0], most_tokens=shares[1])


def private(record: Record) -> set[str]:
    """Return what may not leave the machine: the record's id, file names, and group with its last part."""
    group = record.group.rsplit("/", 1)[-1]
    files = {name for image in record.images for name in (image, Path(image).name, Path(image).stem)}
    return {s for s in (record.id, record.group, group, *files) if len(s) >= SHORTEST_SECRET}


def texts_of(reply: str) -> list[str] | None:
    """Return the texts of a reply, also where words or a fence stand around the JSON; None when there are none."""
    reader, at = json.JSONDecoder(), reply.find("{")
    while at >= 0:
        try:
            raw, _ = reader.raw_decode(reply, at)
        except (json.JSONDecodeError, RecursionError):
            raw = None
        texts = raw.get("texts") if isinstance(raw, dict) else None
        if isinstance(texts, list) and all(isinstance(t, str) for t in texts):
            return texts
        at = reply.find("{", at + 1)
    return None
