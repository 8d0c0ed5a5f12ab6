"""Rights on topics against the catalogue: what is missing and what is too much, each with the command that mends it."""

from contracts.topics import Publisher, Topic, catalogue
from deploy.doctor.rights import ALL, RIGHTS, Rule, held
from deploy.doctor.said import Said

SCHOOL = Publisher(
    name="school", source="urn:school", tenants=("rkn",), organisations=("vhs",), families=("attendance",)
)
SENT, FACTS = "attendance.submissions.school", "attendance.events"
TOPICS = [topic for topic in catalogue([SCHOOL]) if topic.name in (SENT, FACTS)]
GIVEN = [
    Rule("User:school", 4, True, SENT),
    Rule("User:referral", 3, True, SENT),
    Rule("User:referral", 3, True, FACTS),
    Rule("User:referral", 4, True, FACTS),
]
"""As a person would write them from the catalogue: the publisher writes, the owner reads; the owner writes its facts."""


def found(rules: list[Rule], topics: list[Topic] = TOPICS, principal: str = "User:{}", *operators: str) -> list[Said]:
    said = held(topics, rules, "kafka:9092", principal, operators)
    return [one for one in said if one.state == "found"]


def test_what_the_catalogue_says_and_no_more_is_well() -> None:
    assert [topic.name for topic in TOPICS] == [FACTS, SENT]
    assert found(GIVEN) == []


def test_a_right_that_is_missing_is_found_with_the_command_that_gives_it() -> None:
    for rule, right in zip(GIVEN, ("Write", "Read", "Read", "Write"), strict=True):
        (one,) = found([other for other in GIVEN if other is not rule])
        assert one.what == f"{rule.principal} lacks {right} on {rule.topic}"
        assert one.mend == ("kafka-acls.sh --bootstrap-server kafka:9092 --command-config admin.properties --add"
                            f" --allow-principal '{rule.principal}' --operation {right} --topic '{rule.topic}'")  # fmt: skip


def test_nobody_else_writes_as_a_publisher() -> None:
    (one,) = found([*GIVEN, Rule("User:other", 4, True, SENT)])
    assert one.what == f"User:other has Write on {SENT}" and "it can speak as school" in one.why
    assert "--remove --allow-principal 'User:other' --operation Write" in one.mend


def test_facts_are_read_by_services_alone_and_by_operators_that_are_named() -> None:
    more = [*GIVEN, Rule("User:console", 3, True, FACTS)]
    assert [one.what for one in found(more)] == [f"User:console has Read on {FACTS}"]
    assert found(more, TOPICS, "User:{}", "User:console") == []


def test_a_subscriber_that_is_named_reads_its_topic_and_no_other() -> None:
    """Its right is as much part of the installation as a service's: missed where it lacks, called too many nowhere else."""
    readers = [("User:board", FACTS)]

    def told(*rules: Rule) -> list[str]:
        return [
            one.what for one in held(TOPICS, [*GIVEN, *rules], "k:1", "User:{}", (), readers) if one.state == "found"
        ]

    assert told(Rule("User:board", 3, True, FACTS)) == []
    assert told() == [f"User:board lacks Read on {FACTS}"]
    given = (Rule("User:board", 3, True, FACTS), Rule("User:board", 3, True, SENT), Rule("User:board", 4, True, FACTS))
    assert told(*given) == [f"User:board has Read on {SENT}", f"User:board has Write on {FACTS}"]


def test_whoever_may_delete_the_log_is_found_even_its_owner() -> None:
    (one,) = found([*GIVEN, Rule("User:referral", RIGHTS["Delete"], True, FACTS)])
    assert one.what == f"User:referral has Delete on {FACTS}" and one.why == "it can delete or change what is kept"
    (one,) = found([*GIVEN, Rule("User:referral", ALL, True, FACTS)])
    assert one.what == f"User:referral has All on {FACTS}"


ACLS = "kafka-acls.sh --bootstrap-server kafka:9092 --command-config admin.properties"


def test_what_rests_on_a_rule_that_is_too_wide_is_given_by_its_own_first() -> None:
    """All taken away leaves the owner without what it reads and writes, and nobody had said that it would."""
    others = [rule for rule in GIVEN if rule.principal != "User:referral" or rule.topic != FACTS]
    (one,) = found([*others, Rule("User:referral", ALL, True, FACTS)])
    adds = [f"{ACLS} --add --allow-principal 'User:referral' --operation {right} --topic '{FACTS}'" for right in ("Read", "Write")]  # fmt: skip
    remove = f"{ACLS} --remove --allow-principal 'User:referral' --operation All --topic '{FACTS}'"
    assert one.mend == " && ".join([*adds, remove])
    everybody = Rule("User:*", 3, True, "attendance.", prefixed=True)
    (one,) = found([rule for rule in GIVEN if rule.operation != 3] + [everybody])
    adds = [f"{ACLS} --add --allow-principal 'User:referral' --operation Read --topic '{name}'" for name in (FACTS, SENT)]  # fmt: skip
    remove = f"{ACLS} --remove --allow-principal 'User:*' --operation Read --topic 'attendance.' --resource-pattern-type prefixed"  # fmt: skip
    assert one.mend == " && ".join([*adds, remove])
    console = Rule("User:console", ALL, True, SENT)
    (one,) = found([*GIVEN, console], TOPICS, "User:{}", "User:console")
    assert f"--add --allow-principal 'User:console' --operation Read --topic '{SENT}' && " in one.mend


def test_a_denial_is_taken_away_as_it_stands() -> None:
    """By another operation or pattern Kafka finds nothing to remove, says so to nobody, and the right still lacks."""
    for rule, stands in ((Rule("User:referral", ALL, False, FACTS), f"All --topic '{FACTS}'"),
                         (Rule("User:referral", 3, False, "*"), "Read --topic '*'"),
                         (Rule("User:*", 3, False, "attendance.e", prefixed=True), "Read --topic 'attendance.e' --resource-pattern-type prefixed")):  # fmt: skip
        mends = {one.mend for one in found([*GIVEN, rule])}
        assert mends == {f"{ACLS} --remove --deny-principal '{rule.principal}' --operation {stands}"}
    both = [Rule("User:referral", 3, False, FACTS), Rule("User:*", 3, False, FACTS)]
    assert [one.what for one in found([*GIVEN, *both])] == [
        f"User:referral is denied Read on {FACTS}", f"User:* is denied Read on {FACTS}"]  # fmt: skip


def test_a_rule_for_a_beginning_or_for_all_topics_is_one_finding() -> None:
    everywhere = Rule("User:*", 3, True, "*")
    (one,) = found([*GIVEN, everywhere])
    assert one.what == f"User:* has Read on {FACTS} and 1 more" and one.mend.endswith("--topic '*'")
    beginning = Rule("User:school", 4, True, "attendance.", prefixed=True)
    (one,) = found([*GIVEN, beginning])
    assert one.what == f"User:school has Write on {FACTS}"
    assert one.mend.endswith("--topic 'attendance.' --resource-pattern-type prefixed")


def test_a_denial_wins_over_what_is_given() -> None:
    (one,) = found([*GIVEN, Rule("User:*", 3, False, FACTS)])
    assert one.what == f"User:* is denied Read on {FACTS}"
    assert "--remove --deny-principal 'User:*' --operation Read" in one.mend


def test_principals_of_certificates_are_named_as_they_stand_in_the_broker() -> None:
    rules = [Rule(rule.principal.replace("User:", "User:CN="), rule.operation, True, rule.topic) for rule in GIVEN]
    assert found(rules, TOPICS, "User:CN={}") == [] and len(found(rules)) == 8
