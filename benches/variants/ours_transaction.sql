--- like ours
-- customer_db, notify = transaction: what it does where no worker is configured.
ALTER DATABASE ours_transaction SET customer_db.notify = transaction;
