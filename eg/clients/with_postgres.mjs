// Customers with postgres (Postgres.js): node with_postgres.mjs CONNECTION ADDRESS
import { randomUUID } from "node:crypto";
import postgres from "postgres";

const [connection, address] = process.argv.slice(2);
const sql = postgres(connection, {
  prepare: false, // through PgBouncer in transaction mode, no statement may stay prepared on the server
  types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } }, // versions stay below 2^53
});

async function refused(what, query) {
  const error = await query.then(() => undefined, (error) => error);
  if (!(error instanceof postgres.PostgresError)) throw error ?? new Error(`${what}: not refused`);
  console.error(what, error);
  console.log(`${what}: ${error.code} ${error.constructor.name}`);
}

const [ann] = await sql`SELECT * FROM customers.register_customer(${` ${address.toUpperCase()} `}, ${"Ann Example"})`;
console.log(`registered: ${ann.status}, version ${ann.version}`);
await refused("the address again", sql`SELECT * FROM customers.register_customer(${address})`);
await refused("no address", sql`SELECT * FROM customers.register_customer(${address.replace("@", "#")})`);
await refused("a name with a NUL", sql`SELECT * FROM customers.register_customer(${`x${address}`}, ${"Ann\0"})`);

const get = (id) => sql`SELECT * FROM customers.get_customer(${id})`;
console.log("by id:", (await get(ann.customer_id))[0].name);
console.log("by address:", (await sql`SELECT * FROM customers.find_customer(${address})`)[0].name);
console.log("no such id:", (await get(randomUUID()))[0] ?? "no row");
console.log("a page:", (await sql`SELECT * FROM customers.list_customers(page_size => ${1})`).length);

const patch = (id, changes, version) =>
  sql`SELECT * FROM customers.patch_customer(${id}, ${sql.json(changes)}, ${version})`;
const [patched] = await patch(ann.customer_id, { name: "Ann E. Example" }, ann.version);
console.log(`patched: ${patched.name}, version ${patched.version}`);
await refused(
  "an old version",
  sql`SELECT * FROM customers.update_customer(${ann.customer_id}, name => ${"Bea"}, expected_version => ${ann.version})`,
);
await refused("a patch of no such id", patch(randomUUID(), { name: "Bea" }, null));

const suspended = await sql.begin(async (sql) => { // the actor is forgotten when the transaction ends
  await sql`SELECT set_config('customer_db.actor', ${"agent 7"}, true)`;
  const [customer] = await sql`SELECT * FROM customers.set_status(${ann.customer_id}, 'SUSPENDED', ${"fraud"})`;
  return customer;
});
console.log(`by agent 7: ${suspended.status}, version ${suspended.version}`);

const [closed] = await sql`SELECT * FROM customers.set_status(${ann.customer_id}, 'CLOSED')`;
console.log(`closed: ${closed.status}, version ${closed.version}`);
await refused("a closed account", sql`SELECT * FROM customers.set_status(${ann.customer_id}, 'ACTIVE')`);
await refused("the feed", sql`SELECT * FROM customers.read_events(${1000000})`);
await sql.end();
