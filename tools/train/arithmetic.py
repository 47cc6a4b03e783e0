"""Seeded word problems with worked steps: four levels of four kinds; the last line is #### answer."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Callable

from words import BOYS, COUNTED, GIRLS, HOLDERS, PLACES, SHOPS

HELD_OUT_MODULUS = 50  # One problem in fifty never enters the training stream.


@dataclass(frozen=True)
class Problem:
    """question: the user's words; steps: one equation a line; answer: what stands after ####; kind: a key of KINDS."""

    question: str
    steps: tuple[str, ...]
    answer: int
    kind: str

    @property
    def solution(self) -> str:
        return "\n".join((*self.steps, f"#### {self.answer}"))


def add(a: int, b: int) -> str:
    return f"{a} + {b} = {a + b}"


def subtract(a: int, b: int) -> str:
    return f"{a} - {b} = {a - b}"


def divide(a: int, b: int) -> str:
    return f"{a} / {b} = {a // b}"


def multiply(a: int, b: int) -> str:
    """a * b, the tens and the ones of the left factor apart: 47 * 6 = 240 + 42 = 282."""
    tens, ones = a // 10 * 10, a % 10
    if tens == 0 or ones == 0:
        return f"{a} * {b} = {a * b}"
    return f"{a} * {b} = {tens * b} + {ones * b} = {a * b}"


class Cast:
    """The people, things and places of one problem."""

    def __init__(self, rng: random.Random) -> None:
        girl = rng.random() < 0.5
        self.name = rng.choice(GIRLS if girl else BOYS)
        self.he = "she" if girl else "he"
        self.He = self.he.capitalize()
        self.his = "her" if girl else "his"
        self.him = "her" if girl else "him"
        self.friend = rng.choice(BOYS if girl else GIRLS)
        self.things, self.others = rng.sample(COUNTED, 2)
        self.holders = rng.choice(HOLDERS)
        self.shop = rng.choice(SHOPS)
        self.place = rng.choice(PLACES)


def tell(rng: random.Random, cast: Cast, templates: tuple[str, ...], **numbers: int) -> str:
    return rng.choice(templates).format(**vars(cast), **numbers)


Made = tuple[str, tuple[str, ...], int]


def gain(rng: random.Random, c: Cast) -> Made:
    a, b = rng.randint(5, 99), rng.randint(5, 99)
    question = tell(rng, c, (
        "{name} has {a} {things}. {He} finds {b} more in the {place}. How many {things} does {he} have now?",
        "There are {a} {things} in the {place}. {name} brings {b} more. How many {things} are there now?",
        "{name} picked {a} {things} and {friend} picked {b} {things}. How many {things} did they pick together?",
        "{friend} gives {b} {things} to {name}, who had {a} before. How many {things} does {name} have now?",
    ), a=a, b=b)
    return question, (add(a, b),), a + b


def loss(rng: random.Random, c: Cast) -> Made:
    a = rng.randint(20, 99)
    b = rng.randint(4, a - 3)
    question = tell(rng, c, (
        "{name} has {a} {things}. {He} gives {b} of them to {friend}. How many {things} are left?",
        "There were {a} {things} at the {shop}. {b} were sold. How many {things} are left?",
        "{name} had {a} {things} but lost {b} in the {place}. How many {things} does {he} still have?",
        "{name} needs {a} {things} and already has {b}. How many {things} are missing?",
    ), a=a, b=b)
    return question, (subtract(a, b),), a - b


def groups(rng: random.Random, c: Cast) -> Made:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    question = tell(rng, c, (
        "{name} has {a} {holders} with {b} {things} each. How many {things} are there in all?",
        "Each of {a} children brings {b} {things} to the {place}. How many {things} is that?",
        "{name} buys {b} {things} every day for {a} days. How many {things} does {he} buy?",
    ), a=a, b=b)
    return question, (multiply(a, b),), a * b


def share(rng: random.Random, c: Cast) -> Made:
    n, each = rng.randint(2, 9), rng.randint(2, 12)
    a = n * each
    question = tell(rng, c, (
        "{name} shares {a} {things} equally among {n} friends. How many {things} does each friend get?",
        "{name} puts {a} {things} into {n} {holders}, the same number in each. How many {things} are in each?",
        "{a} {things} cost the same as {n} {others}. How many {things} is one of the {others} worth?",
    ), a=a, n=n)
    return question, (divide(a, n),), each


def gain_loss(rng: random.Random, c: Cast) -> Made:
    a, b = rng.randint(20, 99), rng.randint(11, 99)
    d = rng.randint(11, a + b - 5)
    question = tell(rng, c, (
        "{name} has {a} {things}. {He} buys {b} more at the {shop} and gives {d} to {friend}. "
        "How many {things} does {he} have left?",
        "A {shop} had {a} {things}. In the morning {b} more came, and then {d} were sold. How many {things} are left?",
        "{name} gathered {a} {things} in the {place} and {friend} gathered {b}. They used {d} of them. "
        "How many {things} remain?",
    ), a=a, b=b, d=d)
    return question, (add(a, b), subtract(a + b, d)), a + b - d


def more_than(rng: random.Random, c: Cast) -> Made:
    a = rng.randint(30, 99)
    d = rng.randint(6, a - 10)
    more = rng.random() < 0.5
    b = a + d if more else a - d
    question = tell(rng, c, (
        "{name} has {a} {things}. {friend} has {d} {word} than {name}. How many {things} do they have together?",
        "On Monday {name} sold {a} {things}. On Tuesday {he} sold {d} {word}. How many {things} did {he} sell in all?",
        "There are {a} {things} in the {place}. There are {d} {word} {others} than {things}. "
        "How many {things} and {others} are there in all?",
    ), a=a, d=d, word="more" if more else "fewer")
    return question, (add(a, d) if more else subtract(a, d), add(a, b)), a + b


def boxes_and_loose(rng: random.Random, c: Cast) -> Made:
    n, k, m = rng.randint(2, 9), rng.randint(11, 49), rng.randint(10, 99)
    question = tell(rng, c, (
        "{name} has {n} {holders} with {k} {things} each and {m} loose {things}. How many {things} does {he} have?",
        "{n} {holders} hold {k} {things} each. {name} adds {m} more {things}. How many {things} are there now?",
        "Every day {name} makes {k} {things}. After {n} days {friend} brings {m} more. How many {things} is that?",
    ), n=n, k=k, m=m)
    return question, (multiply(k, n), add(k * n, m)), k * n + m


def change(rng: random.Random, c: Cast) -> Made:
    n, p = rng.randint(2, 9), rng.randint(11, 59)
    paid = rng.choice([x for x in (100, 200, 300, 500, 600) if x > n * p])
    question = tell(rng, c, (
        "{name} buys {n} {things} for {p} cents each and pays with {paid} cents. How many cents does {he} get back?",
        "One of the {things} costs {p} cents. {name} has {paid} cents and buys {n}. How many cents are left?",
        "{name} saved {paid} coins. At the {shop} {he} pays {p} coins for each of {n} {things}. "
        "How many coins are left?",
    ), n=n, p=p, paid=paid)
    return question, (multiply(p, n), subtract(paid, p * n)), paid - p * n


def rows(rng: random.Random, c: Cast) -> Made:
    a, b = rng.randint(12, 99), rng.randint(12, 99)
    question = tell(rng, c, (
        "In the {place} there are {a} rows of {b} {things}. How many {things} are there?",
        "{name} fills {a} {holders} with {b} {things} each. How many {things} does {he} need?",
        "The {shop} sells {b} {things} an hour. How many {things} does it sell in {a} hours?",
    ), a=a, b=b)
    tens, ones = b // 10 * 10, b % 10
    steps = [f"{a} * {tens} = {a * tens}"]
    if ones:
        steps += [f"{a} * {ones} = {a * ones}", add(a * tens, a * ones)]
    return question, tuple(steps), a * b


def running_total(rng: random.Random, c: Cast) -> Made:
    w, x, y, z = (rng.randint(101, 2999) for _ in range(4))
    question = tell(rng, c, (
        "{name} counts {things}: {w} on Monday, {x} on Tuesday, {y} on Wednesday and {z} on Thursday. "
        "How many {things} is that in all?",
        "Four {holders} hold {w}, {x}, {y} and {z} {things}. How many {things} do they hold together?",
    ), w=w, x=x, y=y, z=z)
    return question, (add(w, x), add(w + x, y), add(w + x + y, z)), w + x + y + z


def market(rng: random.Random, c: Cast) -> Made:
    n, m = rng.randint(2, 9), rng.randint(2, 9)
    p, q = rng.randint(102, 599), rng.randint(102, 599)
    total = n * p + m * q
    d = rng.randint(100, total - 10)
    question = tell(rng, c, (
        "{name} sells {n} {things} for {p} coins each and {m} {others} for {q} coins each. "
        "{He} then spends {d} coins at the {shop}. How many coins are left?",
        "{name} brings {n} {holders} of {p} {things} and {friend} brings {m} {holders} of {q} {things} to the {place}. "
        "They give away {d} {things}. How many {things} remain?",
    ), n=n, m=m, p=p, q=q, d=d)
    steps = (f"{p} * {n} = {p * n}", f"{q} * {m} = {q * m}", add(n * p, m * q), subtract(total, d))
    return question, steps, total - d


def crew(rng: random.Random, c: Cast) -> Made:
    n, each = rng.randint(3, 9), rng.randint(101, 399)
    total = n * each
    a = rng.randint(40, total - 40)
    k = rng.randint(15, each - 5)
    question = tell(rng, c, (
        "{name} has {a} {things} and {friend} has {b}. They share them equally among {n} children, "
        "and each child loses {k}. How many {things} does each child have left?",
        "One ship brings {a} {things} and another brings {b}. They are packed into {n} equal {holders}, "
        "and {k} are taken out of each. How many {things} are left in each?",
    ), a=a, b=total - a, n=n, k=k)
    return question, (add(a, total - a), divide(total, n), subtract(each, k)), each - k


def stock(rng: random.Random, c: Cast) -> Made:
    a, b = rng.randint(13, 99), rng.randint(13, 99)
    d = rng.randint(21, a * b - 20)
    question = tell(rng, c, (
        "The {shop} had {a} {holders} of {b} {things} and sold {d} {things}. How many {things} are left?",
        "{name} plants {a} rows of {b} {things} and gives {d} to {friend}. How many {things} does {he} keep?",
    ), a=a, b=b, d=d)
    return question, (f"{a} * {b} = {a * b}", subtract(a * b, d)), a * b - d


def left_over(rng: random.Random, c: Cast) -> Made:
    n, q = rng.randint(12, 49), rng.randint(4, 49)
    r = rng.randint(1, n - 1)
    question = tell(rng, c, (
        "{name} packs {a} {things} into {holders} of {n} until no more can be filled. How many {things} are left over?",
        "{a} {things} are shared equally among {n} children, as many as possible each. "
        "How many {things} are left over?",
    ), a=n * q + r, n=n)
    return question, (f"{n} * {q} = {n * q}", subtract(n * q + r, n * q)), r


def discount(rng: random.Random, c: Cast) -> Made:
    p, d = rng.randint(6, 49) * 20, rng.randint(1, 19) * 5
    off = p * d // 100
    question = tell(rng, c, (
        "A box of {things} costs {p} coins. Today it is {d} percent cheaper. How many coins does it cost today?",
        "{name} has {p} {things} and gives {d} percent of them to {friend}. How many {things} does {he} keep?",
    ), p=p, d=d)
    return question, (f"{p} * {d} = {p * d}", divide(p * d, 100), subtract(p, off)), p - off


def two_trips(rng: random.Random, c: Cast) -> Made:
    a, b, x, y = (rng.randint(13, 79) for _ in range(4))
    question = tell(rng, c, (
        "{name} walks {a} steps a minute for {b} minutes and then {x} steps a minute for {y} minutes. "
        "How many steps does {he} walk?",
        "{a} {holders} hold {b} {things} each, and {x} other {holders} hold {y} each. "
        "How many {things} are there in all?",
    ), a=a, b=b, x=x, y=y)
    return question, (f"{a} * {b} = {a * b}", f"{x} * {y} = {x * y}", add(a * b, x * y)), a * b + x * y


KINDS: dict[str, Callable[[random.Random, Cast], Made]] = {
    f.__name__: f
    for f in (gain, loss, groups, share, gain_loss, more_than, boxes_and_loose, change,
              rows, running_total, market, crew, stock, left_over, discount, two_trips)
}
LEVELS = ("easy", "medium", "hard", "expert")
DIFFICULTY = {kind: LEVELS[index // 4] for index, kind in enumerate(KINDS)}
# How often training sees a kind of a level; the held-out set has every kind equally often.
TRAINING_WEIGHTS = {"easy": 2, "medium": 3, "hard": 4, "expert": 3}


def make(rng: random.Random, kind: str) -> Problem:
    question, steps, answer = KINDS[kind](rng, Cast(rng))
    return Problem(question, steps, answer, kind)


def is_held_out(question: str) -> bool:
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") % HELD_OUT_MODULUS == 0


def training_problem(rng: random.Random) -> Problem:
    """A problem of the training mix; never a held-out one."""
    kind = rng.choices(list(KINDS), [TRAINING_WEIGHTS[DIFFICULTY[k]] for k in KINDS])[0]
    while is_held_out((problem := make(rng, kind)).question):
        pass
    return problem


def held_out_problems(seed: int, count: int) -> list[Problem]:
    """count distinct held-out problems, the kinds in turn."""
    rng = random.Random(f"held-out problems/{seed}")
    kinds = list(KINDS)
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = make(rng, kinds[len(problems) % len(kinds)])
        if is_held_out(problem.question):
            problems.setdefault(problem.question, problem)
    return list(problems.values())


def drill(rng: random.Random) -> str:
    """A short column of bare equations of the sizes that the problems need."""
    lines = []
    for _ in range(rng.randint(4, 10)):
        form = rng.randrange(7)
        if form == 0:
            lines.append(add(rng.randint(2, 99), rng.randint(2, 99)))
        elif form == 1:
            a = rng.choice((rng.randint(10, 999), rng.randint(10, 5000)))
            lines.append(subtract(a, rng.randint(2, a)))
        elif form == 2:
            lines.append(multiply(rng.randint(2, 99), rng.randint(2, 9)))
        elif form == 3:
            n, each = rng.randint(2, 9), rng.randint(2, 99)
            lines.append(divide(n * each, n))
        elif form == 4:
            lines.append(add(rng.randint(100, 1200), rng.randint(10, 400)))
        elif form == 5:
            a, tens = rng.randint(12, 99), rng.randint(1, 9) * 10
            lines.append(f"{a} * {tens} = {a * tens}")
        else:
            lines.append(add(rng.randint(20, 4000), rng.randint(20, 4000)))
    return "\n".join(lines) + "\n"


def extract_answer(text: str) -> int | None:
    """The number after the last ####, or None."""
    found = re.findall(r"####\s*(-?\d+)", text)
    return int(found[-1]) if found else None


def check_steps(problem: Problem) -> bool:
    """Whether every equation holds (all its sides equal) and the last one ends in the answer."""
    for step in problem.steps:
        values = set()
        for side in step.split(" = "):
            left, *rest = side.split()
            value = int(left)
            for operator, number in zip(rest[::2], rest[1::2]):
                n = int(number)
                if operator == "/" and value % n:
                    return False
                value = {"+": value + n, "-": value - n, "*": value * n, "/": value // n if n else 0}[operator]
            values.add(value)
        if len(values) != 1:
            return False
    return problem.steps[-1].endswith(f" = {problem.answer}") and extract_answer(problem.solution) == problem.answer
