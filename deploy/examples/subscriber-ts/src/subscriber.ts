/**
 * Counts participations from Lotse's facts and tells what it could not count.
 *
 * stdout: a JSON document each time the end of the log is reached (`--once`: once, then it stops). Facts are kept for good,
 * so its memory is the log: it reads from the start and stores nothing.
 * Exit codes: 0 whole; 1 a gap, a fork, something unreadable or a later version of a type counted here, so the figures are not
 * whole; 2 wrong usage; 3 Kafka.
 */

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { Consumer, type Message, stringDeserializer } from "@platformatic/kafka";
import { Figures } from "./figures.js";
import { type Fact, factOf, Unreadable } from "./messages.js";
import { Streams } from "./streams.js";

const TOPICS = ["intake.events", "referral.events"];
const READ_COMMITTED = 1;
const LATEST = -1n;
const USAGE = `usage: subscriber --brokers HOST:PORT[,HOST:PORT] [--once] [--as-of MOMENT] [--without FACT]... [--past PLACE]...
  --once     stop at the end of the log as it stands now
  --as-of    count the months that are over at this moment (RFC 3339); without it, now
  --without  leave out a fact (FAMILY/SUBJECT/ID), as an operator of Lotse left out the second of a fork
  --past     pass over a record (TOPIC/PARTITION/OFFSET), as an operator of Lotse went on past what is no fact`;

type Record = Message<string, Buffer, string, string>;

const options = read();
const streams = new Streams<Fact>();
const figures = new Figures();
const unreadable: { topic: string; partition: number; offset: number; why: string }[] = [];
const next = new Map<string, bigint>();
let applied = 0;
for (const [family, subject, id] of options.without) streams.leaveOut(family, subject, id);

const consumer = new Consumer<string, Buffer, string, string>({
  groupId: `figures-${randomUUID()}`,
  clientId: "lotse-subscriber-example",
  bootstrapBrokers: options.brokers,
  deserializers: { key: stringDeserializer, headerKey: stringDeserializer, headerValue: stringDeserializer },
});

try {
  const stream = await consumer.consume({ topics: TOPICS, mode: "earliest", autocommit: false, isolationLevel: READ_COMMITTED });
  const records = stream[Symbol.asyncIterator]();
  const onward = async (): Promise<void> => {
    const { value, done } = await records.next();
    if (done === true) throw new Error("the stream ended");
    hear(value as Record);
  };
  for (;;) {
    const ends = await consumer.listOffsets({ topics: TOPICS, timestamp: LATEST, isolationLevel: READ_COMMITTED });
    // no transaction is ever written to these topics, so the last record stands right before the end
    const behind = (): boolean =>
      [...ends].some(([topic, ofEach]) => ofEach.some((end, partition) => (next.get(`${topic}/${partition}`) ?? 0n) < end));
    while (behind()) await onward();
    console.log(JSON.stringify(told()));
    if (options.once) break;
    await onward();
  }
  await stream.close();
  await consumer.close(true);
  const later = Object.keys(figures.later).length;
  process.exitCode = streams.gaps().length + streams.forks().length + unreadable.length + later > 0 ? 1 : 0;
} catch (error) {
  console.error(`Kafka: ${error instanceof Error ? error.name : "error"}. Check --brokers and the network.`);
  process.exit(3);
}

function hear({ topic, partition, offset, headers, value }: Record): void {
  next.set(`${topic}/${partition}`, offset + 1n);
  if (options.past.has(`${topic}/${partition}/${offset}`)) return;
  try {
    for (const fact of streams.take(factOf(headers, value))) {
      figures.apply(fact);
      applied += 1;
    }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    unreadable.push({ topic, partition, offset: Number(offset), why: error.message });
  }
}

function told(): object {
  const grids = figures.grids(options.asOf);
  const { old } = streams;
  return { grids, applied, old, gaps: streams.gaps(), forks: streams.forks(), unreadable, later: figures.later };
}

interface Options {
  brokers: string[];
  once: boolean;
  asOf: Date;
  without: [string, string, string][];
  past: Set<string>;
}

function read(): Options {
  try {
    const { values } = parseArgs({
      options: {
        brokers: { type: "string" },
        once: { type: "boolean", default: false },
        "as-of": { type: "string", default: new Date().toISOString() },
        without: { type: "string", multiple: true, default: [] },
        past: { type: "string", multiple: true, default: [] },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const asOf = new Date(values["as-of"]);
    const without = values.without.flatMap((fact): [string, string, string][] => {
      const [family, subject, id, ...more] = fact.split("/");
      return family && subject && id && more.length === 0 ? [[family, subject, id]] : [];
    });
    if (values.brokers !== undefined && !Number.isNaN(asOf.getTime()) && without.length === values.without.length)
      return { brokers: values.brokers.split(","), once: values.once, asOf, without, past: new Set(values.past) };
  } catch {
    // said below
  }
  console.error(USAGE);
  process.exit(2);
}
