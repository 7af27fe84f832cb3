-- customer_db, notify = worker.
CREATE EXTENSION customer_db;
--- fill
INSERT INTO customers.customers (customer_id, email, name)
SELECT md5(n::text)::uuid, 'c' || n || '@example.com', 'Customer Name' FROM generate_series(:from, :to) AS n;
--- register
SELECT * FROM customers.register_customer('r' || :r || '@example.com', 'Customer Name');
--- update
SELECT * FROM customers.update_customer(md5(:n::text)::uuid, name => 'Name ' || :r);
--- set_status
SELECT changed.* FROM customers.customers AS c,
       customers.set_status(c.customer_id, CASE c.status WHEN 'ACTIVE' THEN 'SUSPENDED' ELSE 'ACTIVE' END) AS changed
 WHERE c.customer_id = md5(:n::text)::uuid;
--- get
SELECT * FROM customers.get_customer(md5(:n::text)::uuid);
--- find
SELECT * FROM customers.find_customer('C' || :n || '@example.com');
--- page
SELECT * FROM customers.list_customers(after => md5(:n::text)::uuid, page_size => 100);
--- bulk
INSERT INTO customers.customers (email, name) SELECT 'b' || n || '-:tag@example.com', 'Customer Name' FROM generate_series(1, 200000) AS n;
--- import
SELECT count(*) FROM batches, customers.import_customers(customers);
--- one_session
DO $$
DECLARE r record;
BEGIN
    FOR i IN 1..10000 LOOP
        r := customers.register_customer('s' || i || '-:tag@example.com', 'Customer Name');
    END LOOP;
END $$;
--- one_session_committing
DO $$
DECLARE r record;
BEGIN
    FOR i IN 1..10000 LOOP
        r := customers.register_customer('s' || i || '-:tag@example.com', 'Customer Name');
        COMMIT;
    END LOOP;
END $$;
--- feed
SELECT position, 0::bigint, event::text FROM customers.read_events($1::bigint, 1000);
--- listen
LISTEN customers;
