-- A walk through customer_db, in a database of its own: make run.
\set ON_ERROR_STOP on
\set ECHO queries
\pset null '(none)'

CREATE EXTENSION customer_db;

-- Register a customer. The address is stored in one form, whatever its spelling.
SELECT customer_id, email, status, version
  FROM customers.register_customer(' Ann.Example@EXAMPLE.com ', 'Ann Example') \gset

SELECT * FROM customers.get_customer(:'customer_id') \gx

-- The same address again is refused, and the refusal does not repeat it.
\set ON_ERROR_STOP off
SELECT * FROM customers.register_customer('ann.example@example.com');
\set ON_ERROR_STOP on

-- Change the name, on behalf of somebody.
BEGIN;
SET LOCAL customer_db.actor = 'agent 7';
SELECT name, version FROM customers.update_customer(:'customer_id', name => 'Ann E. Example', expected_version => 1);
COMMIT;

-- Suspend the account.
SELECT status, version FROM customers.set_status(:'customer_id', 'SUSPENDED', reason => 'chargeback');

-- The rules hold for plain SQL as well.
\set ON_ERROR_STOP off
DELETE FROM customers.customers;
\set ON_ERROR_STOP on

-- What happened to the customer, and who did it.
SELECT version, type, changes, recorded_by, actor, reason FROM customers.customer_history(:'customer_id');

-- The feed: what a service that keeps a copy of customers reads, from its last position on.
SELECT position, event FROM customers.read_events(0);

-- Forget the person: in the table, and in every event.
SELECT email, name, status, version FROM customers.erase_customer(:'customer_id', reason => 'GDPR, article 17');
SELECT position, event FROM customers.read_events(0);
