"""Kafka: does it answer, may this user do what the catalogue says, do the topics stand as the catalogue says?

No record is written and no group is joined.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    KafkaUnavailableError,
    NoBrokersAvailable,
    NodeNotReadyError,
    RequestTimedOutError,
)
from aiokafka.protocol.admin import DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # it forgets to say that it exports them

from contracts.envelope import Tick
from contracts.topics import CLOCK, OWNERS, SUBMITTED, BadPublishers, Topic, catalogue, load_publishers
from deploy.doctor import rights
from deploy.doctor.databases import CLOCKS_MAY_DIFFER, used
from deploy.doctor.place import Place
from deploy.doctor.said import Said, found, good, not_checked, noted
from deploy.services import differences, settings_of
from services.process.ending import closed

PATIENCE = 8.0  # seconds Kafka has for one question
READ, WRITE = 3, 4  # AclOperation, as Kafka numbers them
NOT_AUTHORIZED, NOT_AUTHORIZED_ON_CLUSTER, NO_AUTHORIZER = 29, 31, 54
TOPIC, ANY, ALLOW = 2, 1, 3  # resource type, filter, permission, as Kafka numbers them
NO_USE = (Code._UNSUPPORTED_FEATURE, Code.UNSUPPORTED_VERSION, Code._AUTHENTICATION, Code._SSL)
"""What no second question changes. All else may be a broker that begins, beside others that take its processor."""
SILENCE = (OSError, TimeoutError, KafkaConnectionError, KafkaTimeoutError, KafkaUnavailableError, NoBrokersAvailable,
           NodeNotReadyError, RequestTimedOutError)  # fmt: skip
"""Nobody there any more; any other error of Kafka's is an answer."""
TICK_AHEAD = timedelta(minutes=10)  # beyond, services hold it
TICK_OLD = timedelta(minutes=20)  # one comes every quarter of an hour
LOST_LOG, HELD = "docs/runbooks/LotseGap.md", "docs/runbooks/LotseHeld.md"
GONE_FIRST = f"${{PAGER:-less}} {LOST_LOG}   # its step 6 first: `lotse topics` would make what is gone, too, and empty"


class _Metadata8(Response):  # type: ignore[misc]  # aiokafka has no types
    """Metadata with what the asking user may do to each topic; aiokafka stops at version 5."""

    API_KEY = 3
    API_VERSION = 8
    _FIELDS = dict(zip(MetadataResponse_v5.SCHEMA.names, MetadataResponse_v5.SCHEMA.fields, strict=True))
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", _FIELDS["brokers"]),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        ("topics", Array(
            ("error_code", Int16), ("topic", String("utf-8")), ("is_internal", Boolean),
            ("partitions", Array(
                ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
                ("replicas", Array(Int32)), ("isr", Array(Int32)), ("offline_replicas", Array(Int32)),
            )),
            ("authorized_operations", Int32),
        )),
        ("cluster_authorized_operations", Int32),
    )  # fmt: skip


class _Metadata8Request(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Metadata8
    SCHEMA = Schema(
        *zip(MetadataRequest_v5.SCHEMA.names, MetadataRequest_v5.SCHEMA.fields, strict=True),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _AskRights(Request[_Metadata8Request]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_Metadata8Request]) -> _Metadata8Request:
        return request_struct_class(self._topics, False, False, True)


async def kafka(place: Place) -> AsyncIterator[Said]:
    """All that is asked of Kafka, one connection for all questions."""

    async def asked(admin: AIOKafkaAdminClient, topics: list[Topic]) -> AsyncIterator[Said]:
        said, there, hidden = await _stand(place, admin, topics)
        for one in (*said, *await _of_nobody(place, admin, topics)):
            yield one
        try:
            lacking = _lacking(place, topics, there, hidden) + await _without_group(place)
        except (KafkaError, TimeoutError) as error:
            yield not_checked("rights", f"the broker does not tell those on groups ({type(error).__name__} {error})")
        else:
            for one in _rights(place, lacking):
                yield one
        if CLOCK not in there:
            yield not_checked("clock", f"{CLOCK} is not there, or not for this user")
        elif any(part["leader"] < 0 for part in there[CLOCK]["partitions"]):
            yield not_checked("clock", f"{CLOCK} has no leader")
        else:
            async for one in _broker_clock(place):
                yield one

    async for said in _catalogued(place, asked):
        yield said


async def topics_and_rights(
    place: Place, principal: str, operators: Sequence[str], readers: Sequence[tuple[str, str]] = ()
) -> list[Said]:
    """`lotse topics --check`: topics, settings and everybody's rights against the catalogue."""

    async def asked(admin: AIOKafkaAdminClient, topics: list[Topic]) -> AsyncIterator[Said]:
        said, _, _ = await _stand(place, admin, topics)
        for one in (
            *said,
            *await _of_nobody(place, admin, topics),
            *await _rules(place, admin, topics, principal, operators, readers),
        ):
            yield one

    return [one async for one in _catalogued(place, asked)]


async def _catalogued(
    place: Place, asked: Callable[[AIOKafkaAdminClient, list[Topic]], AsyncIterator[Said]]
) -> AsyncIterator[Said]:
    """What is asked of a Kafka that answers, about the topics that should be there."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says we say ourselves, once
    if place.kafka is None:
        if place.up:
            yield not_checked("kafka", "LOTSE_KAFKA is not set")
        return
    known: dict[str, Any] = {"bootstrap_servers": place.kafka, "client_id": "doctor"} | place.security.aiokafka()
    admin = AIOKafkaAdminClient(request_timeout_ms=int(PATIENCE * 1000), **known)
    try:
        async with asyncio.timeout(PATIENCE):
            await admin.start()
    except (KafkaError, OSError, TimeoutError) as error:
        yield await _unreachable(place, error)
        await admin.close()
        return
    try:
        yield good("kafka", f"Kafka answers at {place.kafka}")
        if place.publishers is None:
            yield not_checked("topics", "without publishers nobody knows which topics there should be")
            return
        try:
            topics = catalogue(load_publishers(place.publishers).values())
        except BadPublishers:
            yield not_checked("topics", "publishers.toml can't be used")
            return
        async with asyncio.timeout(PATIENCE * 4):
            async for said in asked(admin, topics):
                yield said
    except SILENCE as error:
        yield found("kafka", f"Kafka at {place.kafka} fell silent while it was asked",
                    f"{type(error).__name__}; services hold everything until it answers",
                    f"tail {place.folder}/kafka/kafka.log" if place.local
                    else f"nc -vz {_host_and_port(place)}   # it was there a moment ago: its log says why it is not now",
                    unreachable=True)  # fmt: skip
    except KafkaError as error:
        yield not_checked("topics", f"Kafka does not tell ({type(error).__name__} {error})")
    finally:
        await admin.close()


def _host_and_port(place: Place) -> str:
    return str(place.kafka).split(",")[0].replace(":", " ")


async def _unreachable(place: Place, error: BaseException) -> Said:
    """Nobody there, or somebody who does not take us: told apart by a bare connection."""
    assert place.kafka
    for address in place.kafka.split(","):
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            if refused := await _certificate(place, address.strip(), host, int(port)):
                what, way_out = refused
                return found("kafka", what, "services hold everything until it is", way_out, unreachable=True)
            return found(
                "kafka", f"something listens at {address} and does not take us", "a wrong user, password or security protocol, or"
                " no Kafka", "export LOTSE_KAFKA_SECURITY='{\"security_protocol\": ..., \"sasl_mechanism\": ...}'", unreachable=True)  # fmt: skip
    return found("kafka", f"Kafka does not answer at {place.kafka}",
                 f"{type(error).__name__}; services hold everything until it does",
                 f"tail {place.folder}/kafka/kafka.log   # then `lotse up` again" if place.local
                 else f"nc -vz {_host_and_port(place)}   # then start the broker, open the way, or set LOTSE_KAFKA",
                 unreachable=True)  # fmt: skip


async def _certificate(place: Place, address: str, host: str, port: int) -> tuple[str, str] | None:
    """Whose certificate is not taken, and why, and the way out; None where both are, or where nobody asks for one."""
    try:
        async with asyncio.timeout(PATIENCE if place.security.context else 0):
            reader, writer = await asyncio.open_connection(host, port, ssl=place.security.context)
            with contextlib.closing(writer):
                await reader.read(1)  # who refuses ours says so after the handshake; who takes it waits for us
    except ssl.SSLCertVerificationError as error:
        return (f"the certificate of {address} is not taken: {error.verify_message}",
                "renew it, or name who signed it: ssl_cafile in LOTSE_KAFKA_SECURITY")  # fmt: skip
    except ssl.SSLError as error:
        _, alert, why = (error.reason or "").partition("ALERT_")
        if alert and ("CERTIFICATE" in why or why == "UNKNOWN_CA"):
            return (f"{address} does not take our certificate: {why.lower().replace('_', ' ')}",
                    "name one that it takes: ssl_certfile, ssl_keyfile in LOTSE_KAFKA_SECURITY")  # fmt: skip
    except (OSError, TimeoutError):
        pass
    return None


async def _stand(
    place: Place, admin: AIOKafkaAdminClient, topics: list[Topic]
) -> tuple[list[Said], dict[str, Any], set[str]]:
    """Whether the topics stand as the catalogue says; those that are there, and names of those this user may not see."""
    cluster = (await admin._send_request(_AskRights([t.name for t in topics]))).to_object()
    answer, alone = cluster["topics"], len(cluster["brokers"]) == 1
    there = {one["topic"]: one for one in answer if one["error_code"] == 0}
    hidden = {one["topic"] for one in answer if one["error_code"] == NOT_AUTHORIZED}
    said, gone = await _missing(place, [t for t in topics if t.name not in there and t.name not in hidden])
    lost = {name for name, one in there.items() if any(part["leader"] < 0 for part in one["partitions"])}
    said += [found("topics", f"{name} has a partition without a leader", "nobody reads or writes it, and no tick passes it",
                   f"${{PAGER:-less}} {HELD}   # bring the broker back that holds it") for name in sorted(lost)]  # fmt: skip
    for topic in topics:
        if topic.name in there:
            has = len(there[topic.name]["partitions"])
            if has not in ((min(topic.partitions, 4), topic.partitions) if alone else (topic.partitions,)):
                used = topic.name in lost or await _used(place, topic.name, has)
                said.append(_partitions(place, topic, has, used=used, gone=gone))
    said += await _settings(place, admin, [t for t in topics if t.name in there], gone=gone)
    if not any(one.state in ("found", "noted") for one in said):
        said.append(good("topics", f"{len(there)} topics stand as the catalogue says"))
    return said, there, hidden


async def _of_nobody(place: Place, admin: AIOKafkaAdminClient, topics: list[Topic]) -> list[Said]:
    """Topics that look like a publisher's and are none's."""
    said: list[Said] = []
    names = {one["topic"] for one in await admin.describe_topics() if not one["is_internal"]}
    known = {topic.name for topic in topics}
    for name in sorted(names - known):
        family, _, rest = name.partition(".")
        if family in OWNERS and rest.partition(".")[0] in ("submissions", "answers"):
            publisher = rest.partition(".")[2]
            why = "nobody reads it" if rest.startswith("submissions") and family in SUBMITTED else "nobody writes it"
            said.append(found("topics", f"{name} belongs to no publisher of publishers.toml", why,
                              f"${{EDITOR:-vi}} {place.publishers}   # add [publisher.{publisher}], if it is to publish"))  # fmt: skip
    return said


async def _missing(place: Place, missing: list[Topic]) -> tuple[list[Said], bool]:
    """What is kept for good and was there is a lost log, and no topic to be made; that it never was its owner alone can say. And
    whether there is such a one: no command that makes topics is named then."""
    owners = {topic.name: topic.writer for topic in missing if topic.config["retention.ms"] == "-1"}
    knows = await used(place, owners) if owners else {}
    gone = {topic: service for service, topics in knows.items() for topic in topics}
    unsure = [topic for topic, owner in owners.items() if topic not in gone and owner not in knows]
    said = [found("topics", f"{topic} is gone, and {service} knows that something stood there",
                  "it is the log of record: made anew and empty it takes the next fact at 0, and nobody misses those before",
                  f"${{PAGER:-less}} {LOST_LOG}   # its step 6: backup or mirror, before anything writes to it")
            for topic, service in gone.items()]  # fmt: skip
    careful = f"lotse topics   # in a new installation; was it ever there: {LOST_LOG}, step 6, first"
    mend = GONE_FIRST if gone else careful if unsure else "lotse topics"
    rest = [topic.name for topic in missing if topic.name not in {*gone, *unsure}]
    return said + _absent(unsure, mend) + _absent(rest, mend), bool(gone)


def _absent(topics: list[str], mend: str) -> list[Said]:
    if not topics:
        return []
    names = ", ".join(topics[:3]) + (", ..." if len(topics) > 3 else "")
    return [found("topics", f"{len(topics)} {'topics are' if len(topics) > 1 else 'topic is'} missing: {names}",
                  "its readers wait, its writers fail; Kafka makes none by itself", mend)]  # fmt: skip


def _partitions(place: Place, topic: Topic, has: int, *, used: bool, gone: bool) -> Said:
    """Made anew is only what never held anything: else its records go, and who read there stands behind its end."""
    asks = f"kafka-topics.sh --bootstrap-server {place.kafka}"
    mend = (
        GONE_FIRST
        if gone
        else f"{asks} --delete --topic {topic.name} && lotse topics   # it is empty: stop who writes to it first"
    )
    if used:
        mend = (f"{asks} --describe --topic {topic.name}   # records stood on it: delete nothing, add no partition; another topic"
                " takes its place, and how is to be planned with who develops Lotse")  # fmt: skip
    return found("topics", f"{topic.name} has {has} partitions; the catalogue says {topic.partitions}",
                 "partitions are for good: another number moves the subjects to other places", mend)  # fmt: skip


@contextlib.asynccontextmanager
async def _consumer(place: Place) -> AsyncIterator[AIOKafkaConsumer]:
    """Reads without a group."""
    known: dict[str, Any] = {"bootstrap_servers": place.kafka, "client_id": "doctor"} | place.security.aiokafka()
    consumer = AIOKafkaConsumer(group_id=None, enable_auto_commit=False, **known)
    try:
        await consumer.start()
        yield consumer
    finally:
        await closed(consumer)


async def _used(place: Place, topic: str, partitions: int) -> bool:
    """Whether a topic holds a record or ever did; where Kafka does not tell, it did."""
    try:
        async with _consumer(place) as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, part) for part in range(partitions)])
            return any(ends.values())
    except SILENCE:
        raise
    except KafkaError:
        return True


async def _settings(place: Place, admin: AIOKafkaAdminClient, topics: list[Topic], *, gone: bool) -> list[Said]:
    said: list[Said] = []
    for topic, has in zip(topics, await settings_of(admin, [t.name for t in topics]), strict=True):
        if not has:
            said.append(not_checked("topics", f"this user may not read the settings of {topic.name} (DescribeConfigs)"))
            continue
        for one in differences(topic, has):
            what = f"{one.topic} has {one.key}={one.has}; the catalogue says {one.wanted}"
            if one.longer:
                said.append(noted("topics", what, "what stands there is kept longer than people were told (docs/operating.md)",
                    f"kafka-configs.sh --bootstrap-server {place.kafka} --alter --entity-type topics --entity-name {one.topic}"
                    f" --add-config {one.key}={one.wanted}   # once nothing older is still to be read: Kafka deletes it"))  # fmt: skip
            else:
                mend = GONE_FIRST if gone else "lotse topics --mend"
                said.append(found("topics", what, WHY.get(one.key, "the services rely on it"), mend))
    return said


WHY = {
    "retention.ms": "Kafka deletes what is older: a fact gone can't be learnt again, an answer gone can't be told again",
    "retention.bytes": "Kafka deletes what is beyond: a fact gone can't be learnt again",
    "cleanup.policy": "compaction takes facts out of the log of record",
    "compression.type": "the size limit counts compressed bytes: 8 MiB pass a limit of 128 KiB",
    "max.message.bytes": "smaller refuses what the services send, larger lets in what they can't bear",
    "message.timestamp.type": "the moment of arrival would be the sender's word",
}
"""What a wrong setting does."""


def _lacking(place: Place, topics: list[Topic], there: dict[str, Any], hidden: set[str]) -> list[tuple[str, str, str]]:
    """(right, kind of thing, name) that the catalogue gives a service that is looked at, and this user may not."""
    lacking = []
    for service in place.services:
        for topic in topics:
            wanted = [(READ, "Read")] if service in topic.readers else []
            wanted += [(WRITE, "Write")] if topic.writer == service else []
            for code, name in wanted:
                may = there[topic.name]["authorized_operations"] >> code & 1 if topic.name in there else 0
                if not may and (topic.name in there or topic.name in hidden):
                    lacking.append((name, "topic", topic.name))
    return lacking


async def _without_group(place: Place) -> list[tuple[str, str, str]]:
    """The same of a service's group of consumers, which aiokafka can't ask for. Raises KafkaError where nobody tells."""
    admin = AdminClient(place.security.librdkafka(str(place.kafka)), logger=logging.getLogger("librdkafka"))
    lacking = []
    for group in (f"lotse-{service}" for service in place.services):
        until = time.monotonic() + PATIENCE * 2
        while isinstance(may := await asyncio.to_thread(_may_read, admin, group), KafkaError):
            if time.monotonic() > until:
                raise may
            await asyncio.sleep(0.2)
        if not may:
            lacking.append(("Read", "group", group))
    return lacking


def _may_read(admin: AdminClient, group: str) -> bool | KafkaError:
    """Gives back why where it may be asked again; a broker that never had a group makes their topic first. Raises KafkaError
    where nothing changes by that."""
    asked = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=PATIENCE)
    try:
        return AclOperation.READ in asked[group].result(PATIENCE * 2).authorized_operations
    except KafkaException as error:
        code, why = error.args[0].code(), KafkaError(error.args[0].name())
        if code == Code.GROUP_AUTHORIZATION_FAILED:
            return False
        if code in NO_USE:
            raise why from None
        return why


def _rights(place: Place, lacking: Sequence[tuple[str, str, str]]) -> Iterator[Said]:
    user = place.security.sasl_plain_username or "NAME"
    for right, kind, name in lacking:
        yield found("rights", f"{user if user != 'NAME' else 'this user'} lacks the right {right} on {'group ' * (kind == 'group')}{name}",
                    "the service holds what needs it and goes on when the right is there",
                    f"kafka-acls.sh --bootstrap-server {place.kafka} --command-config admin.properties --add"
                    f" --allow-principal User:{user} --operation {right} --{kind} {name}")  # fmt: skip
    if place.services and not lacking:
        yield good("rights", f"what {', '.join(place.services)} must read and write is allowed")
    elif not place.services:
        yield not_checked("rights", "`lotse doctor SERVICE` looks at the rights of a service")


async def _rules(
    place: Place, admin: AIOKafkaAdminClient, topics: list[Topic], principal: str, operators: Sequence[str],
    readers: Sequence[tuple[str, str]],
) -> list[Said]:  # fmt: skip
    """Everybody's rights on every topic."""
    answer = (await admin._send_request(DescribeAclsRequest(TOPIC, None, ANY, None, None, ANY, ANY))).to_object()
    code = answer["error_code"]
    if code == NO_AUTHORIZER:
        return [not_checked("rights", "the broker has no authorizer: everybody may do everything")]
    if code == NOT_AUTHORIZED_ON_CLUSTER:
        return [not_checked("rights", "this user may not ask for the rights of others (Describe on the cluster)")]
    if code:
        return [not_checked("rights", f"the broker does not tell them (Kafka error {code})")]
    rules = [
        rights.Rule(acl["principal"], acl["operation"], acl["permission_type"] == ALLOW, one["resource_name"],
                    one["resource_pattern_type"] == rights.PREFIXED)
        for one in answer["resources"] for acl in one["acls"]
    ]  # fmt: skip
    return rights.held(topics, rules, str(place.kafka), principal, operators, readers)


async def _broker_clock(place: Place) -> AsyncIterator[Said]:
    """The newest tick holds two clocks: its own moment is that of `serve clock`, the record's time is the broker's."""
    part = TopicPartition(CLOCK, 0)
    record = None
    try:
        async with _consumer(place) as consumer:
            consumer.assign([part])
            end = (await consumer.end_offsets([part]))[part]
            start = (await consumer.beginning_offsets([part]))[part]
            if start < end:
                consumer.seek(part, end - 1)
                record = next(iter((await consumer.getmany(part, timeout_ms=2000)).get(part, [])), None)
    except SILENCE:
        raise
    except KafkaError as error:
        yield not_checked("clock", f"the newest tick can't be read ({type(error).__name__})")
        return
    if record is None:
        yield not_checked(
            "clock", "there is no tick yet to hold the broker's clock against; `lotse serve clock` writes them"
        )
        return
    written = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    if written - datetime.now(UTC) > CLOCKS_MAY_DIFFER:
        minutes = round((written - datetime.now(UTC)).total_seconds() / 60)
        yield found("clock", f"this machine's clock is at least {minutes} minutes behind that of the broker",
                    "what was written last lies in our future", "timedatectl set-ntp true   # here and there")  # fmt: skip
    try:
        ticks = Tick.model_validate_json(record.value).at
    except ValueError:
        yield not_checked("clock", "the newest tick can't be read")
        return
    ahead = ticks - written
    if ahead > TICK_AHEAD or (ahead < -CLOCKS_MAY_DIFFER and not place.simulated):
        minutes = round(abs(ahead).total_seconds() / 60)
        which = "ahead of" if ahead > timedelta() else "behind"
        yield found("clock", f"the newest tick is {minutes} minutes {which} the broker's clock",
                    "a tick more than 10 minutes ahead is held: time stands still",
                    "timedatectl set-ntp true && lotse serve clock   # on the machine of `serve clock`; check the broker's too")  # fmt: skip
    elif not place.simulated and (age := datetime.now(UTC) - written) > TICK_OLD:
        yield found("clock", f"the newest tick is {round(age.total_seconds() / 60)} minutes old",
                    "time stands still: no risk is seen, no office is told, no month is released",
                    "lotse serve clock   # does it run, and may it write? Its log says so; docs/runbooks/LotseTickOld.md")  # fmt: skip
    else:
        yield good("clock", "the newest tick agrees with the broker's clock")
