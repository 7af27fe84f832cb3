-- The transactions that hold the feed back: they hold a lock of src/feed/positions.rs. $1: its class, shifted as in the
-- lock's tag. Not ok: one that waits for its client or was prepared and is older than 0.2 s, or is older than ten seconds.
SELECT coalesce(session.xact_start, prepared.prepared) > clock_timestamp()
           - CASE WHEN session.state LIKE 'active%' THEN interval '10 seconds' ELSE interval '0.2 seconds' END AS ok,
       CASE WHEN lock.pid IS NOT NULL
            THEN format('session %1$s (%2$s) holds the feed back since %3$s: SELECT pg_terminate_backend(%1$s);',
                        lock.pid, coalesce(session.state, 'of another role'), coalesce(session.xact_start::text, 'a moment'))
            ELSE format('the prepared transaction %1$L holds the feed back since %2$s: ROLLBACK PREPARED %1$L; or COMMIT '
                        'PREPARED', prepared.gid, prepared.prepared)
       END AS detail
  FROM pg_locks AS lock
  LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
  -- A prepared transaction has no session; it is known by the lock on its own id.
  LEFT JOIN pg_locks AS own_id ON lock.pid IS NULL AND own_id.pid IS NULL AND own_id.locktype = 'transactionid'
                              AND own_id.virtualtransaction = lock.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = own_id.transactionid
 WHERE lock.locktype = 'userlock' AND lock.granted AND lock.pid IS DISTINCT FROM pg_backend_pid()
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND lock.classid::bigint >> 21 = $1
 ORDER BY coalesce(session.xact_start, prepared.prepared)
