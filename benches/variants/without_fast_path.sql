--- like ours
-- customer_db, registering by an INSERT statement: an added column, whose own cost is negligible, rules the fast path out.
ALTER TABLE customers.customers ADD COLUMN spare text;
