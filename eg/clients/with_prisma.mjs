// Customers with Prisma's raw queries: node with_prisma.mjs CONNECTION ADDRESS
import { randomUUID } from "node:crypto";
import { PrismaPg } from "@prisma/adapter-pg";
import prismaClient from "@prisma/client";

const { Prisma, PrismaClient } = prismaClient;
const [connectionString, address] = process.argv.slice(2);
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString }) });
const one = async (query) => (await prisma.$queryRaw(query))[0];
const { sql } = Prisma;

async function refused(what, query) {
  const error = await one(query).then(() => undefined, (error) => error);
  if (!(error instanceof Prisma.PrismaClientKnownRequestError)) throw error ?? new Error(`${what}: not refused`);
  console.error(what, error);
  // error.code is P2010 for every error of a raw query.
  console.log(`${what}: ${error.meta.driverAdapterError.cause.originalCode} ${error.name}`);
}

const register = (address, name) => sql`SELECT * FROM customers.register_customer(${address}, ${name})`;
const ann = await one(register(` ${address.toUpperCase()} `, "Ann Example"));
console.log(`registered: ${ann.status}, version ${ann.version}`);
await refused("the address again", register(address, null));
await refused("no address", register(address.replace("@", "#"), null));
await refused("a name with a NUL", register(`x${address}`, "Ann\0"));

const get = (id) => sql`SELECT * FROM customers.get_customer(${id}::uuid)`;
console.log("by id:", (await one(get(ann.customer_id))).name);
console.log("by address:", (await one(sql`SELECT * FROM customers.find_customer(${address})`)).name);
console.log("no such id:", (await one(get(randomUUID()))) ?? "no row");
const page = await prisma.$queryRaw`SELECT * FROM customers.list_customers(page_size => ${1})`;
console.log("a page:", page.length);

// A text as jsonb; versions are a BigInt.
const patch = (id, fields, version) =>
  sql`SELECT * FROM customers.patch_customer(${id}::uuid, ${JSON.stringify(fields)}::jsonb, ${version})`;
const patched = await one(patch(ann.customer_id, { name: "Ann E. Example" }, ann.version));
console.log(`patched: ${patched.name}, version ${patched.version}`);
const update = (id, name, version) =>
  sql`SELECT * FROM customers.update_customer(${id}::uuid, name => ${name}, expected_version => ${version})`;
await refused("an old version", update(ann.customer_id, "Bea", ann.version));
await refused("a patch of no such id", patch(randomUUID(), { name: "Bea" }, null));

const setStatus = (status, reason) =>
  sql`SELECT * FROM customers.set_status(${ann.customer_id}::uuid, ${status}, ${reason})`;
const [, [suspended]] = await prisma.$transaction([
  prisma.$executeRaw`SELECT set_config('customer_db.actor', ${"agent 7"}, true)`, // forgotten when the transaction ends
  prisma.$queryRaw(setStatus("SUSPENDED", "fraud")),
]);
console.log(`by agent 7: ${suspended.status}, version ${suspended.version}`);

const closed = await one(setStatus("CLOSED", null));
console.log(`closed: ${closed.status}, version ${closed.version}`);
await refused("a closed account", setStatus("ACTIVE", null));
await refused("the feed", sql`SELECT * FROM customers.read_events(${1000000})`);
await prisma.$disconnect();
