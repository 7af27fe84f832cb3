-- Run in the database that has customer_db, as superuser. The exporter runs as the system's user prometheus, whom
-- PostgreSQL recognises on its socket (peer), so the role has no password.
CREATE ROLE prometheus LOGIN CONNECTION LIMIT 3;
ALTER ROLE prometheus SET default_transaction_read_only = on;
ALTER ROLE prometheus SET statement_timeout = '10s';
-- Less than the duty operator, which may prune the feed, and with it what auditors read.
GRANT USAGE ON SCHEMA customers TO prometheus;
GRANT EXECUTE ON FUNCTION customers.metrics() TO prometheus;
