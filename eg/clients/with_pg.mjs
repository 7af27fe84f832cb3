// Customers with pg (node-postgres): node with_pg.mjs CONNECTION ADDRESS
import { randomUUID } from "node:crypto";
import pg from "pg";

const [connectionString, address] = process.argv.slice(2);
pg.types.setTypeParser(pg.types.builtins.INT8, Number); // versions and positions stay below 2^53
const pool = new pg.Pool({ connectionString });
const rows = async (query, ...values) => (await pool.query(query, values)).rows;
const one = async (query, ...values) => (await rows(query, ...values))[0];

async function refused(what, query, ...values) {
  const error = await one(query, ...values).then(() => undefined, (error) => error);
  if (!(error instanceof pg.DatabaseError)) throw error ?? new Error(`${what}: not refused`);
  console.error(what, error);
  console.log(`${what}: ${error.code} ${error.constructor.name}`);
}

const register = "SELECT * FROM customers.register_customer($1, $2)";
const ann = await one(register, ` ${address.toUpperCase()} `, "Ann Example");
console.log(`registered: ${ann.status}, version ${ann.version}`);
await refused("the address again", register, address, null);
await refused("no address", register, address.replace("@", "#"), null);
await refused("a name with a NUL", register, `x${address}`, "Ann\0");

const get = "SELECT * FROM customers.get_customer($1)";
console.log("by id:", (await one(get, ann.customer_id)).name);
console.log("by address:", (await one("SELECT * FROM customers.find_customer($1)", address)).name);
console.log("no such id:", (await one(get, randomUUID())) ?? "no row");
console.log("a page:", (await rows("SELECT * FROM customers.list_customers(page_size => $1)", 1)).length);

// pg turns an object into JSON; an array it would turn into an array of PostgreSQL's.
const patch = "SELECT * FROM customers.patch_customer($1, $2, $3)";
const patched = await one(patch, ann.customer_id, { name: "Ann E. Example" }, ann.version);
console.log(`patched: ${patched.name}, version ${patched.version}`);
const update = "SELECT * FROM customers.update_customer($1, name => $2, expected_version => $3)";
await refused("an old version", update, ann.customer_id, "Bea", ann.version);
await refused("a patch of no such id", patch, randomUUID(), { name: "Bea" }, null);

const setStatus = "SELECT * FROM customers.set_status($1, $2, $3)";
const client = await pool.connect();
try {
  await client.query("BEGIN"); // the actor is forgotten when the transaction ends
  await client.query("SELECT set_config('customer_db.actor', $1, true)", ["agent 7"]);
  const [suspended] = (await client.query(setStatus, [ann.customer_id, "SUSPENDED", "fraud"])).rows;
  await client.query("COMMIT");
  console.log(`by agent 7: ${suspended.status}, version ${suspended.version}`);
} catch (error) {
  await client.query("ROLLBACK");
  throw error;
} finally {
  client.release();
}

const closed = await one(setStatus, ann.customer_id, "CLOSED", null);
console.log(`closed: ${closed.status}, version ${closed.version}`);
await refused("a closed account", setStatus, ann.customer_id, "ACTIVE", null);
await refused("the feed", "SELECT * FROM customers.read_events($1)", 1000000);
await pool.end();
