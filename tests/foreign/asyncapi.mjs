// What the official AsyncAPI parser says of each document named: one JSON line a document, [severity, code, path] each.
// Severity 0 is an error, 1 a warning, 2 a remark.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
  const said = diagnostics.map(({ severity, code, path }) => [severity, String(code), path.join("/")]);
  console.log(JSON.stringify({ said, channels: document?.allChannels().length ?? 0, messages: document?.allMessages().length ?? 0 }));
}
