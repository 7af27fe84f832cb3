-- Who holds the feed back, by `holder`, which is sql/metrics/holders.sql. Not ok: a transaction that waits for its client or
-- was prepared and is older than 0.2 s, or one that works and is older than ten seconds.
SELECT since > clock_timestamp() - CASE WHEN state LIKE 'active%' THEN interval '10 seconds' ELSE interval '0.2 seconds' END
           AS ok,
       CASE WHEN pid IS NOT NULL
            THEN format('session %1$s of the role %4$I (%2$s) holds the feed back since %3$s: SELECT pg_terminate_backend(%1$s);',
                        pid, coalesce(state, 'of another role'), coalesce(since::text, 'a moment'), usename)
            ELSE format('the prepared transaction %1$L holds the feed back since %2$s: ROLLBACK PREPARED %1$L; or COMMIT '
                        'PREPARED', gid, since)
       END AS detail
  FROM holder
 WHERE pid IS DISTINCT FROM pg_backend_pid()
 ORDER BY since
