// Holds Kafka records against CloudEvents 1.0: the rules of the Kafka protocol binding (section numbers below), the official
// JSON Schema, and what the official SDK makes of them. stdin: a JSON line a record, {headers: [[name, base64 or null]], value:
// base64 or null}; stdout: a JSON line a record, what is wrong with it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import { Kafka } from "cloudevents";

const schema = createRequire(import.meta.url)("cloudevents/dist/schema/v1.js"); // compiled from the specification's file
const NAME = /^[a-z0-9]+$/; // spec 3: attribute names
const INTEGER = /^(0|-?[1-9][0-9]*)$/; // spec 3.1: a signed 32-bit number in decimal
const JSON_MEDIA = /^[^/ ;]+\/([^/ ;]+\+)?json( *;.*)?$/i;

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, value } = JSON.parse(line);
  const wrong = [];
  try {
    hold(headers.map(([name, raw]) => [name, raw === null ? null : Buffer.from(raw, "base64")]),
      value === null ? null : Buffer.from(value, "base64"), wrong);
  } catch (error) {
    wrong.push(`${error.name}: ${error.message}`);
  }
  console.log(JSON.stringify(wrong));
}

function hold(headers, value, wrong) {
  const names = headers.map(([name]) => name);
  if (new Set(names).size !== names.length) wrong.push("a header stands twice");
  const texts = Object.fromEntries(headers.map(([name, raw]) => [name, utf8(raw)])); // binding 3.2.3: header values are UTF-8
  const media = texts["content-type"] ?? "";
  if (value === null) return void wrong.push("no value"); // every type of ours has data
  let event;
  if (media.startsWith("application/cloudevents")) { // binding 3: this prefix alone says structured
    if (!/^application\/cloudevents\+json(; *charset=utf-8)?$/i.test(media)) wrong.push("no known event format");
    event = JSON.parse(utf8(value));
    for (const name of names.filter((name) => name.startsWith("ce_")))
      if (texts[name] !== String(event[name.slice(3)])) wrong.push(`${name} is not what the event says`); // binding 3.3.2
  } else {
    event = {};
    for (const name of names.filter((name) => name.startsWith("ce_"))) event[name.slice(3)] = texts[name]; // binding 3.2.3.1
    if ("datacontenttype" in event) wrong.push("datacontenttype stands in content-type, not in ce_datacontenttype"); // 3.2.1
    if ("data" in event) wrong.push("data stands in the value, not in ce_data"); // 3.2.2
    if (!JSON_MEDIA.test(media)) wrong.push("content-type is not JSON");
    event = { ...event, datacontenttype: media, data: JSON.parse(utf8(value)) };
  }
  for (const name of Object.keys(event)) if (!NAME.test(name) && name !== "data_base64") wrong.push(`attribute name ${name}`);
  for (const [name, said] of Object.entries(event)) {
    if (name.startsWith("data")) continue;
    if (!["string", "number", "boolean"].includes(typeof said)) wrong.push(`${name} has no type of the specification`);
    if (said === "") wrong.push(`${name} is empty`);
    if (/[\u0000-\u001f\u007f-\u009f]/.test(String(said))) wrong.push(`${name} has a control character`); // spec 3.1
  }
  if (event.specversion !== "1.0") wrong.push("specversion");
  const number = event.streamversion;
  if (number !== undefined && !(INTEGER.test(String(number)) && Number(number) < 2 ** 31)) wrong.push("streamversion is no integer");
  for (const name of ["time", "recordedtime"])
    if (event[name] !== undefined && Number.isNaN(Date.parse(event[name]))) wrong.push(`${name} is no moment`);
  if (!schema(event)) wrong.push(...schema.errors.map(({ instancePath, message }) => `${instancePath} ${message}`));
  const read = Kafka.toEvent({ headers: texts, key: "", value: media.startsWith("application/cloudevents") ? utf8(value) : event.data });
  for (const [name, said] of Object.entries(event)) {
    if (name === "datacontenttype" || name === "time") continue; // it writes times its own way and names no media type
    if (!isDeepStrictEqual(read[name], said)) wrong.push(`the SDK reads another ${name}`);
  }
  if (Date.parse(read.time) !== Date.parse(event.time)) wrong.push("the SDK reads another time");
}

function utf8(raw) {
  if (raw === null) throw new Error("null where text must stand");
  return new TextDecoder("utf-8", { fatal: true }).decode(raw);
}
