-- Who holds the feed back, by `holder`, which is sql/metrics/holders.sql. Not ok: a transaction that is older than ten
-- seconds, that has waited for its client for 0.2 s, or that was prepared as long ago. A session without a transaction has
-- just ended the one that was seen.
SELECT coalesce(since > clock_timestamp() - interval '10 seconds'
                AND (state LIKE 'active%' OR coalesce(state_change, since) > clock_timestamp() - interval '0.2 seconds'),
                state IS NOT NULL) AS ok,
       CASE WHEN pid IS NOT NULL
            THEN format('session %1$s of the role %4$I (%2$s) holds the feed back since %3$s: SELECT pg_terminate_backend(%1$s);',
                        pid, coalesce(state, 'of another role'), coalesce(since::text, 'a moment'), usename)
            ELSE format('the prepared transaction %1$L holds the feed back since %2$s: ROLLBACK PREPARED %1$L; or COMMIT '
                        'PREPARED', gid, since)
       END AS detail
  FROM holder
 WHERE pid IS DISTINCT FROM pg_backend_pid()
 ORDER BY since
