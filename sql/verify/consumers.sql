-- How far each consumer is behind. Not ok: one whose oldest unread event is older than a day, so that it keeps events
-- from being pruned; one beyond the end of the feed. $1: the feed is complete up to here,
-- NULL on a standby, which does not know. Counts at most 100,000 events.
SELECT ($1 IS NULL OR consumer.position <= $1) AND (oldest.occurred_at IS NULL OR oldest.occurred_at > now() - interval '1 day') AS ok,
       CASE WHEN consumer.position > $1
            THEN format('consumer %1$L is at position %2$s, beyond the end of the feed, and has to copy everything again: '
                        'SELECT customers.unsubscribe(%1$L);', consumer, consumer.position)
            WHEN oldest.occurred_at IS NULL THEN format('consumer %L has read everything', consumer)
            ELSE format('consumer %1$L is %2$s events behind, the oldest since %3$s', consumer,
                        CASE unread WHEN 100000 THEN '100000 or more' ELSE unread::text END, oldest.occurred_at)
                 || CASE WHEN oldest.occurred_at > now() - interval '1 day' THEN ''
                         ELSE format('; they cannot be pruned. If it is gone for good: SELECT customers.unsubscribe(%L);',
                                     consumer) END
       END AS detail
  FROM customers.consumers AS consumer
  LEFT JOIN LATERAL (SELECT occurred_at FROM customers.events AS event
                      WHERE event.position > consumer.position AND event.position <= coalesce($1, 9223372036854775807)
                      ORDER BY event.position LIMIT 1) AS oldest ON true
 CROSS JOIN LATERAL (SELECT count(*) AS unread
                       FROM (SELECT FROM customers.events AS event
                              WHERE event.position > consumer.position AND event.position <= coalesce($1, 9223372036854775807) LIMIT 100000) AS unread_events) AS counted
 ORDER BY consumer
