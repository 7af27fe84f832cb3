--- like ours
-- customer_db, recording events by an INSERT statement: an added column, whose own cost is negligible, rules the bypass out.
ALTER TABLE customers.events ADD COLUMN spare text;
