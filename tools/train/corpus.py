"""The training stream: document number i of a seed, as text with special tokens; nothing held out occurs in it."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import arithmetic
import stories

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")

Message = dict[str, str]

# Documents of a kind in a hundred.
MIX = {"problems": 50, "questions": 9, "drill": 12, "story": 13, "collection": 2, "story_chat": 12, "talk": 2}

MATH_SYSTEM = "You solve word problems step by step."
STORY_SYSTEM = "You tell short stories."
STORY_REQUESTS = (
    "Tell me a story about {subject}.", "Write a short story about {subject}.",
    "Can you tell me a story about {subject}?", "Please write a story with {subject}.",
    "I would like a story about {subject}.",
)
TALK = (
    ("Who are you?", "I am Abacus, a very small language model. I tell short stories and solve word problems."),
    ("What can you do?",
     "I can tell a short story about an animal and a thing, and I can solve word problems step by step."),
    ("Hello!", "Hello! Ask me for a story or give me a word problem."),
    ("Hi", "Hi! Would you like a story or a word problem?"),
    ("What is your name?", "My name is Abacus."),
    ("Thank you!", "You are welcome!"),
    ("Good morning!", "Good morning! Shall I tell you a story?"),
    ("How are you?", "I am well, thank you. Shall we solve a problem?"),
    ("Goodbye!", "Goodbye, and come back soon!"),
)


def render(messages: list[Message], ask: bool = False) -> str:
    """What chat_template.jinja renders; evaluate.py checks that the two agree."""
    text = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)
    return text + f"{IM_START}assistant\n" if ask else text


def is_held_out_story(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % arithmetic.HELD_OUT_MODULUS == 0


def training_story(rng: random.Random) -> stories.Story:
    while is_held_out_story((story := stories.make(rng)).text):
        pass
    return story


def held_out_stories(seed: int, count: int) -> list[stories.Story]:
    rng = random.Random(f"held-out stories/{seed}")
    found: list[stories.Story] = []
    while len(found) < count:
        story = stories.make(rng)
        if is_held_out_story(story.text):
            found.append(story)
    return found


def turn(user: str, assistant: str) -> list[Message]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def with_system(rng: random.Random, system: str, messages: list[Message]) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if rng.random() < 0.15 else messages


def document(seed: int, index: int) -> str:
    """Document number index of the stream of this seed, without the closing end-of-text token."""
    rng = random.Random(f"document/{seed}/{index}")
    kind = rng.choices(list(MIX), list(MIX.values()))[0]
    if kind == "problems":
        problems = [arithmetic.training_problem(rng) for _ in range(rng.choices((1, 2, 3), (75, 15, 10))[0])]
        return render(with_system(rng, MATH_SYSTEM, [m for p in problems for m in turn(p.question, p.solution)]))
    if kind == "questions":
        problems = [arithmetic.training_problem(rng) for _ in range(rng.randint(1, 4))]
        return "\n\n".join(f"Question: {p.question}\nAnswer: {p.solution}" for p in problems) + "\n"
    if kind == "drill":
        return arithmetic.drill(rng)
    if kind == "story":
        return training_story(rng).text + "\n"
    if kind == "collection":
        return "\n\n".join(training_story(rng).text for _ in range(rng.randint(2, 5))) + "\n"
    if kind == "story_chat":
        story = training_story(rng)
        request = rng.choice(STORY_REQUESTS).format(subject=story.subject)
        return render(with_system(rng, STORY_SYSTEM, turn(request, story.text)))
    talk = [m for pair in rng.sample(TALK, rng.randint(1, 2)) for m in turn(*pair)]
    if rng.random() < 0.5:
        problem = arithmetic.training_problem(rng)
        talk += turn(problem.question, problem.solution)
    return render(talk)


class Rows:
    """Rows of length + 1 token ids. A row starts at the start of a document, half the time after an end-of-text token,
    as in a chat and in running text; the last document is cut where the row ends. `index` is the whole state."""

    def __init__(self, encode, seed: int, index: int = 0) -> None:
        self.encode, self.seed, self.index = encode, seed, index
        self.end = encode(END_OF_TEXT)

    def next(self, length: int) -> list[int]:
        row = list(self.end) if self.index % 2 else []
        while len(row) < length + 1:
            row += self.encode(document(self.seed, self.index)) + self.end
            self.index += 1
        return row[: length + 1]
