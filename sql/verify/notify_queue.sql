-- From half of it on, customer_db leaves notifications out. A session that LISTENs keeps the queue from being emptied
-- while its transaction is open; PostgreSQL does not say which sessions LISTEN.
SELECT false AS ok,
       format('%s %% of the NOTIFY queue are in use, and customer_db leaves notifications out from 50 %% on. The oldest open '
              'transaction is that of session %s, since %s: SELECT pg_terminate_backend(%2$s);',
              round(100 * pg_notification_queue_usage()), pid, xact_start) AS detail
  FROM (SELECT pid, xact_start FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
         ORDER BY xact_start NULLS LAST LIMIT 1) AS oldest
 WHERE pg_notification_queue_usage() >= 0.5
