"""What a run would do, in words: one conversation with its trained tokens marked, records, memory, steps.

It reads the records and the checkpoint's config and processor, and no weight.
"""

from __future__ import annotations

from finetune.budget import machine, need
from finetune.config import FullTuning, LoraTuning, TuneConfig
from finetune.data import Conversation
from finetune.plan import Plan, planned

MARKS = ("[[", "]]")
COLORS = ("\033[32m", "\033[0m")
GIB = 1 << 30


def told(config: TuneConfig, *, colored: bool = False) -> str:
    """Return the whole of it; `colored` marks trained tokens in green rather than by brackets."""
    plan = planned(config, stock=True)
    return "\n".join([*_sample(plan, colored), "", *_records(plan), "", *_memory(plan), "", *_steps(plan)]) + "\n"


def marked(row: Conversation, marks: tuple[str, str] = MARKS) -> str:
    """Return the text of a conversation as the model gets it, its answers between marks."""
    text, at = "", 0
    for start, end in row.answers:
        text, at = f"{text}{row.text[at:start]}{marks[0]}{row.text[start:end]}{marks[1]}", end
    return text + row.text[at:]


def _sample(plan: Plan, colored: bool) -> list[str]:
    row = next((row for row in plan.lessons.rows if row.images), plan.lessons.rows[0])
    how = "green" if colored else "between [[ and ]]"
    return [f"One conversation: {len(row.images)} images, {row.length} tokens; trained tokens are {how}. Each mark of "
            "an image becomes its tokens.", "", marked(row, COLORS if colored else MARKS)]


def _records(plan: Plan) -> list[str]:
    lessons = plan.lessons
    lines = [f"{len(lessons.rows)} conversations, {lessons.tokens} tokens, the longest {lessons.longest}; left out: "
             f"{sum(lessons.left_out.values())}"]
    lines += [f"  {count} left out: {reason}" for reason, count in lessons.left_out.most_common()]
    lines += [f"  {count} of {name or 'a set not named'} ({license or 'license not stated'})"
              for (name, license, _), count in sorted(lessons.sets.items())]
    if plan.held_out:
        lines.append(f"{len(plan.held_out.rows)} held out")
    return lines


def _memory(plan: Plan) -> list[str]:
    config, (what, there) = plan.config, machine()
    tokens = plan.pace.batch * plan.lessons.longest
    lora = config.lora_on if isinstance(config, LoraTuning) else ("language",)
    frozen = config.freeze if isinstance(config, FullTuning) else ("vision",)
    whole = tuple(part for part in ("language", "connector", "vision") if part not in frozen)
    processes = config.nodes * config.devices
    lines = [f"Memory on each of {processes} devices in GiB, estimated for batches of {plan.pace.batch} x "
             f"{plan.lessons.longest} tokens; {what}: {there / GIB:.1f}",
             f"  {'':7}{'weights':>10}{'gradients':>11}{'optimizer':>11}{'activations':>13}{'together':>10}"]
    for recipe, parts in (("lora", lora), ("qlora", lora), ("full", whole)):
        n = need(plan.net, recipe, plan.pace, tokens, parts=parts, devices=processes)
        fits = "" if n.total < there else "  does not fit"
        here = "  <- this run" if recipe == config.verb else ""
        lines.append(f"  {recipe:7}{n.weights / GIB:10.2f}{n.gradients / GIB:11.2f}{n.optimizer / GIB:11.2f}"
                     f"{n.activations / GIB:13.2f}{n.total / GIB:10.2f}{fits}{here}")
    return lines


def _steps(plan: Plan) -> list[str]:
    config, pace = plan.config, plan.pace
    processes = config.nodes * config.devices
    at_once = pace.batch * pace.accumulate * processes
    steps = config.steps or config.passes * -(-len(plan.lessons.rows) // at_once)
    mean = plan.lessons.tokens / len(plan.lessons.rows)
    trained = f"rank {pace.rank}, " if isinstance(config, LoraTuning) else ""
    return [f"{steps} steps of {at_once} conversations ({pace.batch} x {pace.accumulate} x {processes} devices), about "
            f"{round(at_once * mean)} tokens a step and {round(steps * at_once * mean)} in all; {trained}learning rate "
            f"{pace.learning_rate:g}, DeepSpeed {pace.deepspeed if processes > 1 else 'none'}"]
