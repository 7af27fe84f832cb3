-- The transactions that hold the feed back, by a lock of src/feed/positions.rs: of a session (pid) or prepared (gid), and
-- since when. $1: the lock's class, shifted as in its tag.
SELECT lock.pid, session.usename, session.state, session.state_change, prepared.gid,
       coalesce(session.xact_start, prepared.prepared) AS since
  FROM pg_locks AS lock
  LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
  -- A prepared transaction has no session; it is known by the lock on its own id.
  LEFT JOIN pg_locks AS own_id ON lock.pid IS NULL AND own_id.pid IS NULL AND own_id.locktype = 'transactionid'
                              AND own_id.virtualtransaction = lock.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = own_id.transactionid
 WHERE lock.locktype = 'userlock' AND lock.granted
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND lock.classid::bigint >> 21 = $1
   -- The views are read one after the other: a transaction that was seen in the first may have ended before the second.
   AND (session.pid IS NOT NULL AND session.state IS DISTINCT FROM 'idle' OR prepared.gid IS NOT NULL)
