/**
 * A publisher: registers a case and waits for its answer. KAFKA=HOST:PORT node build/publish.js
 * Prints the outcome, and the id of the fact or the reason why there is none.
 */

import { createHash, randomUUID } from "node:crypto";
import { Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";
import type { Answer } from "../published/intake/answer.v1.js";
import type { RegistrationSubmitted } from "../published/intake/registration_submitted.v1.js";

const client = { clientId: "lotse-publisher-example", bootstrapBrokers: [process.env.KAFKA ?? "127.0.0.1:9092"] };
const producer = new Producer({ ...client, serializers: stringSerializers, idempotent: true });
const consumer = new Consumer({ ...client, groupId: `answers-${randomUUID()}`, deserializers: stringDeserializers });

const by = { organisation_id: "rkn-thm" };
const said: RegistrationSubmitted = { by, municipality: "05162024", programme: "GK", owner_organisation_id: "rkn-thm" };
const id = randomUUID(); // keep all three: sent again under the same id, byte for byte, it is not done twice
const subject = randomUUID();
const value = JSON.stringify(said);
const source = "https://kreis.example/lotse";
const type = "lotse.intake.registration_submitted.v1";
const headers = {
  ce_specversion: "1.0", ce_id: id, ce_source: source, ce_type: type, ce_subject: subject, ce_tenant: "rkn",
  ce_time: new Date().toISOString(), "content-type": "application/json",
};
const content = contentOf(uuid5(uuid5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", source), id), type, value);
await producer.send({ messages: [{ topic: "intake.submissions.kreis", key: subject, value, headers }] });
const answers = await consumer.consume({ topics: ["intake.answers.kreis"], mode: "earliest", isolationLevel: 1 });
for await (const { value: text } of answers) {
  const answer = JSON.parse(text) as Answer;
  if (answer.submission_id !== id || answer.content !== content) continue; // other content under this id has its own answer
  console.log(answer.outcome, answer.fact_id ?? answer.reason);
  break;
}
await producer.close();
await consumer.close(true);

/** Which content an answer speaks of: `r1:` and half of the SHA-256 of reference, type and body as sent. */
function contentOf(reference: string, type: string, body: string): string {
  return `r1:${createHash("sha256").update(reference + type + body).digest("hex").slice(0, 32)}`;
}

/** UUID version 5 (RFC 9562); the namespace of URLs is 6ba7b811-... */
function uuid5(namespace: string, name: string): string {
  const hash = createHash("sha1").update(Buffer.from(namespace.replaceAll("-", ""), "hex")).update(name).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
