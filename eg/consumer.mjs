// Keeps a complete copy of the customers: node consumer.mjs CONNECTION CONSUMER FILE
// Listen, then catch up, then read on each notification and at intervals: a notification only says
// that there is something. The server keeps our place; events whose version we have come again.
import { existsSync } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import pg from "pg";

const [connectionString, consumer, path] = process.argv.slice(2);

function apply(copy, [customerId, version, fields]) {
  const known = copy[customerId] ?? { version: 0 };
  if (version <= known.version) return;
  // Of the erased the version stays: older events may come again.
  copy[customerId] = fields ? { ...known, ...fields, version } : { version };
}

async function readBatch(client) {
  await client.query("BEGIN");
  const text = `SELECT customer_id, version::int, coalesce(event -> 'customer', event -> 'changes'),
                       position FROM customers.fetch_events($1)`;
  const { rows } = await client.query({ text, values: [consumer], rowMode: "array" });
  if (rows.length > 0) {
    const copy = existsSync(path) ? JSON.parse(await readFile(path, "utf8")) : {};
    rows.forEach((row) => apply(copy, row));
    const file = await open(`${path}.new`, "w");
    await file.writeFile(JSON.stringify(copy));
    await file.sync();
    await file.close();
    await rename(`${path}.new`, path);
    await client.query("SELECT customers.acknowledge($1, $2)", [consumer, rows.at(-1)[3]]);
  }
  await client.query("COMMIT");
  return rows.length;
}

async function consume(client) {
  let wake;
  const tell = () => wake?.();
  client.on("notification", tell).on("error", tell).on("end", tell);
  await client.connect();
  await client.query("LISTEN customers");
  if (!existsSync(path)) // begin at the beginning
    await client.query("SELECT customers.unsubscribe($1)", [consumer]);
  await client.query("SELECT customers.subscribe($1)", [consumer]);
  for (;;) {
    const told = new Promise((resolve) => setTimeout((wake = resolve), 10_000));
    while ((await readBatch(client)) > 0);
    await told;
  }
}

for (;;) {
  const client = new pg.Client({ connectionString });
  await consume(client).catch((error) => console.error(error.message));
  client.end().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
