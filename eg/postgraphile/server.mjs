// PostGraphile 4 over schema.sql: node server.mjs, with DATABASE_URL and PORT.
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";

const { DATABASE_URL, PORT } = process.env;
const graphql = postgraphile(DATABASE_URL, "customer_api", {
  // The client tells a refusal by its SQLSTATE. No message or hint of customer_db contains an address or a name.
  extendedErrors: ["errcode", "hint"],
  disableQueryLog: true, // It would contain the variables.
  // Who acts, as the gateway says; for the transaction of the request.
  pgSettings: (request) => ({ "customer_db.actor": request.headers["x-actor"] }),
});
const server = createServer(graphql).listen(Number(PORT), "127.0.0.1");
server.on("listening", () => console.log(`http://127.0.0.1:${server.address().port}/graphql`));
