--- like bare
-- The bare table and graphile-worker, a job queue in PostgreSQL: a job in the transaction of each change.
--- register
WITH customer AS (
    INSERT INTO customers (email, name) VALUES ('r' || :r || '@example.com', 'Customer Name') RETURNING *
)
SELECT customer.*, job.id FROM customer, graphile_worker.add_job('customer-registered',
    json_build_object('customerId', customer_id, 'email', email, 'name', name, 'status', status, 'version', version)) AS job;
--- update
WITH customer AS (
    UPDATE customers SET name = 'Name ' || :r, updated_at = now(), version = version + 1
     WHERE customer_id = md5(:n::text)::uuid RETURNING *
)
SELECT customer.*, job.id FROM customer, graphile_worker.add_job('customer-updated',
    json_build_object('customerId', customer_id, 'name', name, 'version', version)) AS job;
--- set_status
WITH customer AS (
    UPDATE customers SET status = CASE status WHEN 'ACTIVE' THEN 'SUSPENDED' ELSE 'ACTIVE' END, updated_at = now(), version = version + 1
     WHERE customer_id = md5(:n::text)::uuid RETURNING *
)
SELECT customer.*, job.id FROM customer, graphile_worker.add_job('customer-updated',
    json_build_object('customerId', customer_id, 'status', status, 'version', version)) AS job;
