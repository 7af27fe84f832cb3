-- Customers whose rows are not what their events say. Continues a WITH that defines `candidate`, rows of
-- customers.customers, and `event`, all events of theirs. is_unknown: no event is there, and nothing was pruned that could
-- have been one; the customer is as registered. A field that only pruned events have set is not compared.
feed AS (
    SELECT NOT EXISTS (SELECT FROM customers.feed_epochs WHERE pruned_to > 0) AS is_complete
), recorded AS (
    SELECT customer_id,
           max(version) AS version,
           bool_or(type = 'customer-registered') AS is_registered,
           jsonb_object_agg(key, value ORDER BY version, position) FILTER (WHERE key IS NOT NULL) AS fields
      FROM event
      LEFT JOIN LATERAL jsonb_each(CASE jsonb_typeof(changes) WHEN 'object' THEN changes ELSE '{}' END) ON true
     GROUP BY customer_id
)
SELECT candidate.customer_id, recorded.customer_id IS NULL AND candidate.version = 1 AS is_unknown
  FROM feed, candidate LEFT JOIN recorded USING (customer_id)
 WHERE CASE WHEN recorded.customer_id IS NULL
            THEN feed.is_complete
            ELSE recorded.version <> candidate.version
                 OR recorded.fields ->> 'email' IS DISTINCT FROM candidate.email
                    AND (feed.is_complete OR recorded.fields ? 'email')
                 OR recorded.fields ->> 'status' IS DISTINCT FROM candidate.status
                    AND (feed.is_complete OR recorded.fields ? 'status')
                 OR recorded.fields ->> 'name' IS DISTINCT FROM candidate.name
                    AND (feed.is_complete OR recorded.is_registered OR recorded.fields ? 'name')
       END
   AND NOT EXISTS (SELECT FROM customers.erasures WHERE erasures.customer_id = candidate.customer_id)
