-- The bare table: the columns and indexes of customers.customers, no rules, no events, no notifications.
CREATE TABLE customers (
    customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        COLLATE "C" NOT NULL UNIQUE,
    name          text,
    status        text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    version       bigint      NOT NULL DEFAULT 1
);
CREATE INDEX ON customers (status);
--- fill
INSERT INTO customers (customer_id, email, name)
SELECT md5(n::text)::uuid, 'c' || n || '@example.com', 'Customer Name' FROM generate_series(:from, :to) AS n;
--- register
INSERT INTO customers (email, name) VALUES ('r' || :r || '@example.com', 'Customer Name') RETURNING *;
--- update
UPDATE customers SET name = 'Name ' || :r, updated_at = now(), version = version + 1
 WHERE customer_id = md5(:n::text)::uuid RETURNING *;
--- set_status
UPDATE customers SET status = CASE status WHEN 'ACTIVE' THEN 'SUSPENDED' ELSE 'ACTIVE' END, updated_at = now(), version = version + 1
 WHERE customer_id = md5(:n::text)::uuid RETURNING *;
--- get
SELECT * FROM customers WHERE customer_id = md5(:n::text)::uuid;
--- find
SELECT * FROM customers WHERE email = lower('C' || :n || '@example.com');
--- page
SELECT * FROM customers WHERE customer_id > md5(:n::text)::uuid ORDER BY customer_id LIMIT 100;
--- bulk
INSERT INTO customers (email, name) SELECT 'b' || n || '-:tag@example.com', 'Customer Name' FROM generate_series(1, 200000) AS n;
--- import
INSERT INTO customers (email, name)
SELECT customer.email, customer.name FROM batches, jsonb_to_recordset(customers) AS customer(email text, name text);
--- one_session
DO $$
DECLARE r record;
BEGIN
    FOR i IN 1..10000 LOOP
        INSERT INTO customers (email, name) VALUES ('s' || i || '-:tag@example.com', 'Customer Name') RETURNING * INTO r;
    END LOOP;
END $$;
