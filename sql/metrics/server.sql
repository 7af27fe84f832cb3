-- Measures of the server, which need no right to the tables. Continues a WITH that defines `holder`,
-- sql/metrics/holders.sql, which has $1. $2: the library's version; $3: whether a worker serves this database.
SELECT name, labels::jsonb, value::float8 FROM (
SELECT 'customer_db_build_info', jsonb_build_object('version', extversion, 'library', $2), 1::float8
  FROM pg_extension WHERE extname = 'customer_db'
UNION ALL
SELECT 'customer_db_standby', '{}', pg_is_in_recovery()::int
UNION ALL
SELECT 'customer_db_feed_held_back_seconds', '{}', coalesce(max(extract(epoch FROM clock_timestamp() - since)), 0)
  FROM holder
UNION ALL
SELECT 'customer_db_worker_running', '{}', $3::int
UNION ALL
SELECT 'customer_db_notify_queue_usage_ratio', '{}', pg_notification_queue_usage()
) AS measure (name, labels, value)
