/** Facts as Kafka carries them: CloudEvents 1.0, in binary mode (headers and body) or structured mode (one JSON document). */

import type { Attributes } from "../published/attributes.v1.js";

/** One fact, with what its reader needs of the envelope. `data` is read by `type`. */
export interface Fact {
  family: string;
  type: string;
  id: string;
  tenant: string;
  subject: string;
  number: number;
  data: unknown;
}

/** Why something on a facts' topic is no fact. Names a rule and never a value: values may speak of people. */
export class Unreadable extends Error {}

const STRUCTURED = "application/cloudevents+json";
type Envelope = Partial<Record<keyof Attributes, unknown>>;

/** Reads a record. Throws Unreadable. */
export function factOf(headers: Map<string, string>, value: Buffer | undefined): Fact {
  if (!value?.length) throw new Unreadable("no body");
  const structured = headers.get("content-type")?.toLowerCase().startsWith(STRUCTURED) ?? false;
  const body = parsed(value);
  const envelope: Envelope = structured
    ? (body as Envelope)
    : Object.fromEntries([...headers].filter(([name]) => name.startsWith("ce_")).map(([name, text]) => [name.slice(3), text]));
  if (envelope.specversion !== "1.0") throw new Unreadable("specversion is not 1.0");
  const number = Number(envelope.streamversion);
  if (!Number.isInteger(number) || number < 1) throw new Unreadable("streamversion is no number from 1");
  const type = text(envelope, "type");
  return {
    family: type.split(".")[1] ?? "",
    type,
    id: text(envelope, "id"),
    tenant: text(envelope, "tenant"),
    subject: text(envelope, "subject"),
    number,
    data: structured ? (body as { data?: unknown }).data : body,
  };
}

function parsed(value: Buffer): unknown {
  try {
    const found: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value));
    if (typeof found === "object" && found !== null) return found;
  } catch {
    // an error's text quotes the value
  }
  throw new Unreadable("the body is no JSON object");
}

function text(envelope: Envelope, name: keyof Attributes & string): string {
  const value = envelope[name];
  if (typeof value !== "string" || value === "") throw new Unreadable(`${name} is missing`);
  return value;
}
