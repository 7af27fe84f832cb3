-- Measures of the server, which need no right to the tables. $1: the library's version; $2: the class of the locks that
-- hold the feed back, as in sql/verify/held_back.sql; $3: whether a worker serves this database.
SELECT name, labels::jsonb, value::float8 FROM (
SELECT 'customer_db_build_info', jsonb_build_object('version', extversion, 'library', $1), 1::float8
  FROM pg_extension WHERE extname = 'customer_db'
UNION ALL
SELECT 'customer_db_standby', '{}', pg_is_in_recovery()::int
UNION ALL
SELECT 'customer_db_feed_held_back_seconds', '{}',
       coalesce(max(extract(epoch FROM clock_timestamp() - coalesce(session.xact_start, prepared.prepared))), 0)
  FROM pg_locks AS lock
  LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
  -- A prepared transaction has no session; it is known by the lock on its own id.
  LEFT JOIN pg_locks AS own_id ON lock.pid IS NULL AND own_id.pid IS NULL AND own_id.locktype = 'transactionid'
                              AND own_id.virtualtransaction = lock.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = own_id.transactionid
 WHERE lock.locktype = 'userlock' AND lock.granted
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND lock.classid::bigint >> 21 = $2
UNION ALL
SELECT 'customer_db_worker_running', '{}', $3::int
UNION ALL
SELECT 'customer_db_notify_queue_usage_ratio', '{}', pg_notification_queue_usage()
) AS measure (name, labels, value)
