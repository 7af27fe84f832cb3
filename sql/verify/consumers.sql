-- How far each consumer is behind, by `backlog`, which is sql/metrics/backlog.sql. Not ok: one whose oldest unread event is
-- older than a day, so that it keeps events from being pruned; one beyond the end of the feed. $1 as there; $2: the
-- position of the last event that can be read, NULL on a standby.
SELECT ($2 IS NULL OR position <= $2) AND (since IS NULL OR since > now() - interval '1 day') AS ok,
       CASE WHEN position > $2
            THEN format('consumer %1$L is at position %2$s, beyond the end of the feed, and has to copy everything again: '
                        'SELECT customers.unsubscribe(%1$L);', consumer, position)
            WHEN since IS NULL THEN format('consumer %L has read everything', consumer)
            ELSE format('consumer %1$L is %2$s events behind, the oldest since %3$s', consumer,
                        CASE unread WHEN 100000 THEN '100000 or more' ELSE unread::text END, since)
                 || CASE WHEN since > now() - interval '1 day' THEN ''
                         ELSE format('; they cannot be pruned. If it is gone for good: SELECT customers.unsubscribe(%L);',
                                     consumer) END
       END AS detail
  FROM backlog
 ORDER BY consumer
