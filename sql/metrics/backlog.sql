-- Each consumer, how many events it has not acknowledged, at most 100,000, and since when the oldest of them is there.
-- $1: the feed is complete up to here, NULL on a standby, which does not know.
SELECT consumer, position, unread, oldest.since
  FROM customers.consumers
  LEFT JOIN LATERAL (SELECT occurred_at AS since FROM customers.events AS event
                      WHERE event.position > consumers.position
                        AND event.position <= coalesce($1, 9223372036854775807)
                      ORDER BY event.position LIMIT 1) AS oldest ON true
 CROSS JOIN LATERAL (SELECT count(*) AS unread
                       FROM (SELECT FROM customers.events AS event
                              WHERE event.position > consumers.position
                                AND event.position <= coalesce($1, 9223372036854775807)
                              LIMIT 100000) AS unread_events) AS counted
