// Keeps a complete copy of the customers: node consumer.mjs CONNECTION CONSUMER FILE
// Listen, then catch up, then read on each notification and at intervals: a notification only says
// that there is something. The server keeps our place, so that nothing is pruned before we have read
// it, and we keep it with the copy, for a failover sets the server's back. Events whose version we
// have come again. Where the feed cannot go on (PT410), we copy the table and begin behind the copy.
import { existsSync } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import pg from "pg";

const [connectionString, consumer, path] = process.argv.slice(2);
const FETCH = `SELECT customer_id, version::int, coalesce(event -> 'customer', event -> 'changes')
                      || jsonb_build_object('version', version), position FROM customers.fetch_events($1)`;
const TABLE = `SELECT customer_id, version::int, CASE WHEN email NOT LIKE '%@erased.invalid'
                      THEN to_jsonb(customer) END FROM customers.customers AS customer`;

const load = async () => (existsSync(path) ? JSON.parse(await readFile(path, "utf8")) : {});

async function read(client, anew) {
  const query = async (text, ...values) => (await client.query({ text, values, rowMode: "array" })).rows;
  // The place moves when the file has been written: whatever cuts us off, it is not ahead of it.
  await query("BEGIN");
  let position;
  if (anew) {
    [[position]] = await query("SELECT customers.feed_position()");
    await query("SELECT customers.unsubscribe($1)", consumer);
    await query("SELECT customers.subscribe($1, $2)", consumer, position);
  }
  const rows = await (anew ? query(TABLE) : query(FETCH, consumer));
  if (anew || rows.length > 0) {
    const old = Object.entries(await load());
    const copy = Object.fromEntries(old.filter(([, known]) => !anew || known === null));
    for (const [customerId, version, fields] of rows) {
      const { [customerId]: known = { version: 0 } } = copy;
      if (known === null || version <= known.version) continue; // null: erased, and stays so
      copy[customerId] = fields && { ...known, ...fields };
    }
    copy.position = position ?? rows.at(-1)[3];
    const file = await open(`${path}.new`, "w");
    await file.writeFile(JSON.stringify(copy));
    await file.sync();
    await file.close();
    await rename(`${path}.new`, path);
    if (!anew) await query("SELECT customers.acknowledge($1, $2)", consumer, copy.position);
  }
  await query("COMMIT");
  return rows.length > 0;
}

async function consume(client, anew) {
  let wake;
  const tell = () => wake?.();
  client.on("notification", tell).on("error", tell).on("end", tell);
  await client.connect();
  await client.query("LISTEN customers");
  if (anew) await read(client, true);
  else if (!existsSync(path)) // begin at the beginning
    await client.query("SELECT customers.unsubscribe($1)", [consumer]);
  const { position = 0 } = await load();
  await client.query("SELECT customers.subscribe($1, $2)", [consumer, position]);
  for (;;) {
    const told = new Promise((resolve) => setTimeout((wake = resolve), 10_000));
    while (await read(client, false));
    await told;
  }
}

for (let anew = false; ; ) {
  const client = new pg.Client({ connectionString });
  const error = await consume(client, anew).catch((error) => error);
  console.error(error.message);
  anew = error.code === "PT410";
  client.end().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
