"""Rights on topics: what the catalogue gives to whom, held against the access rules the broker keeps.

Pure; `kafka.py` asks the broker.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from contracts.topics import Topic
from deploy.doctor.said import Said, found, good

RIGHTS = {"Read": 3, "Write": 4, "Delete": 6, "Alter": 7, "AlterConfigs": 11}
"""What may be given that touches records or their keeping, as Kafka numbers operations. Describe and the like do no harm."""
ALL = 2
PREFIXED = 4
EVERYBODY = "User:*"


@dataclass(frozen=True)
class Rule:
    """An access rule as the broker keeps it."""

    principal: str
    operation: int
    allows: bool
    topic: str
    prefixed: bool = False

    def concerns(self, topic: str) -> bool:
        """Whether it speaks of this topic."""
        return topic.startswith(self.topic) if self.prefixed else self.topic in (topic, "*")

    @property
    def rights(self) -> set[str]:
        """Names of the rights it speaks of."""
        return {name for name, code in RIGHTS.items() if self.operation in (code, ALL)}


def held(
    topics: Iterable[Topic], rules: Collection[Rule], kafka: str, principal: str, operators: Collection[str] = (),
    readers: Collection[tuple[str, str]] = (),
) -> list[Said]:  # fmt: skip
    """Every right that is missing and every one that is too many; one line where there is neither. `principal` says how a
    service's or publisher's name becomes a principal (`User:{}`); operators may read everything, readers (principal, topic) read
    that one, too."""
    catalogued = list(topics)
    said = [one for topic in catalogued for one in _missing(topic, rules, kafka, principal, readers)]
    said += [
        one
        for rule in rules
        if rule.allows
        for one in _too_many(catalogued, rule, rules, kafka, principal, operators, readers)
    ]
    return said or [
        good("rights", f"{len(catalogued)} topics can be read and written by whom the catalogue says, and nobody else")
    ]


def _wanted(topic: Topic, principal: str, readers: Collection[tuple[str, str]]) -> dict[str, set[str]]:
    """Right to principals."""
    beside = {who for who, what in readers if what == topic.name}
    return {
        "Read": {principal.format(name) for name in topic.readers} | beside,
        "Write": {principal.format(topic.writer)},
    }


def _missing(
    topic: Topic, rules: Collection[Rule], kafka: str, principal: str, readers: Collection[tuple[str, str]]
) -> Iterator[Said]:
    about = [rule for rule in rules if rule.concerns(topic.name)]
    for right, wanted in _wanted(topic, principal, readers).items():
        given = {rule.principal for rule in about if rule.allows and right in rule.rights}
        for who in sorted(wanted):
            denials = [rule for rule in about if not rule.allows and right in rule.rights and rule.principal in (who, EVERYBODY)]  # fmt: skip
            for rule in denials:
                yield found("rights", f"{rule.principal} is denied {right} on {topic.name}",
                            f"{who} needs it; a denial wins over all that is given", _removed(kafka, rule))  # fmt: skip
            if denials:
                continue
            if not {who, EVERYBODY} & given:
                yield found("rights", f"{who} lacks {right} on {topic.name}", "it holds what needs it, and goes on when the right is there",
                            _command(kafka, "--add --allow-principal", who, right, topic.name))  # fmt: skip


def _too_many(
    topics: list[Topic], rule: Rule, rules: Collection[Rule], kafka: str, principal: str, operators: Collection[str],
    readers: Collection[tuple[str, str]],
) -> Iterator[Said]:  # fmt: skip
    """One finding a rule, however many topics it opens. What is needed and rests on it alone is given first, by rules of its own."""
    opened = []
    for topic in topics:
        wanted = _wanted(topic, principal, readers)
        may = {right for right, who in wanted.items() if rule.principal in who}
        may |= {"Read"} if rule.principal in operators else set()
        if rule.concerns(topic.name) and (more := rule.rights - may):
            opened.append((topic, more))
    if opened:
        topic, more = opened[0]
        others = f" and {len(opened) - 1} more" if len(opened) > 1 else ""
        name = "All" if rule.operation == ALL else next(iter(rule.rights))
        why = "it can delete or change what is kept"
        if "Write" in more:
            why = f"it can speak as {topic.writer}: who wrote a record is known by its topic alone"
        elif "Read" in more:
            why = f"the topic is for {', '.join(topic.readers)} alone"
        rests = _rests_on(topics, rule, rules, principal, operators, readers)
        adds = [_command(kafka, "--add --allow-principal", *one) for one in rests]
        yield found("rights", f"{rule.principal} has {name} on {topic.name}{others}", why,
                    " && ".join([*adds, _removed(kafka, rule)]))  # fmt: skip


def _rests_on(
    topics: list[Topic], rule: Rule, rules: Collection[Rule], principal: str, operators: Collection[str],
    readers: Collection[tuple[str, str]],
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """(principal, right, topic) that somebody should have, and has by no rule for just that."""
    own = {(one.principal, right, one.topic) for one in rules if one.allows and not one.prefixed and one.operation != ALL
           for right in one.rights}  # fmt: skip
    for topic in (topic for topic in topics if rule.concerns(topic.name)):
        for right, wanted in _wanted(topic, principal, readers).items():
            beside = operators if right == "Read" else ()
            whose = wanted if rule.principal == EVERYBODY else {rule.principal} & {*wanted, *beside}
            for who in sorted(whose if right in rule.rights else ()):
                if (who, right, topic.name) not in own:
                    yield who, right, topic.name


def _removed(kafka: str, rule: Rule) -> str:
    """The command that takes away this rule as it stands: by its own operation and pattern, or nothing is found to be removed."""
    name = "All" if rule.operation == ALL else next(iter(rule.rights))
    what = f"--remove --{'allow' if rule.allows else 'deny'}-principal"
    return _command(kafka, what, rule.principal, name, rule.topic, rule.prefixed)


def _command(kafka: str, what: str, who: str, right: str, topic: str, prefixed: bool = False) -> str:
    pattern = " --resource-pattern-type prefixed" if prefixed else ""
    return (f"kafka-acls.sh --bootstrap-server {kafka} --command-config admin.properties {what} '{who}'"
            f" --operation {right} --topic '{topic}'{pattern}")  # fmt: skip
