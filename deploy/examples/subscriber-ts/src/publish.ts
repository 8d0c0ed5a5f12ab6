/**
 * A publisher: registers a case and waits for its answer. KAFKA=HOST:PORT node build/publish.js
 * Prints the outcome, and the id of the fact or the reason why there is none.
 */

import { randomUUID } from "node:crypto";
import { Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";
import type { Answer } from "../published/intake/answer.v1.js";
import type { RegistrationSubmitted } from "../published/intake/registration_submitted.v1.js";

const client = { clientId: "lotse-publisher-example", bootstrapBrokers: [process.env.KAFKA ?? "127.0.0.1:9092"] };
const producer = new Producer({ ...client, serializers: stringSerializers, idempotent: true });
const consumer = new Consumer({ ...client, groupId: `answers-${randomUUID()}`, deserializers: stringDeserializers });

const by = { organisation_id: "rkn-thm" };
const said: RegistrationSubmitted = { by, municipality: "05162024", programme: "GK", owner_organisation_id: "rkn-thm" };
const id = randomUUID(); // keep both: sent again under the same id it is not done twice
const subject = randomUUID();
const headers = {
  ce_specversion: "1.0", ce_id: id, ce_source: "https://kreis.example/lotse", ce_type: "lotse.intake.registration_submitted.v1",
  ce_subject: subject, ce_tenant: "rkn", ce_time: new Date().toISOString(), "content-type": "application/json",
};
await producer.send({ messages: [{ topic: "intake.submissions.kreis", key: subject, value: JSON.stringify(said), headers }] });
for await (const { value } of await consumer.consume({ topics: ["intake.answers.kreis"], mode: "earliest", isolationLevel: 1 })) {
  const answer = JSON.parse(value) as Answer;
  if (answer.submission_id !== id) continue;
  console.log(answer.outcome, answer.fact_id ?? answer.reason);
  break;
}
await producer.close();
await consumer.close(true);
