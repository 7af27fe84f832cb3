-- Customers whose rows are not what their events say, and those of whom the feed says nothing though nothing of it was
-- pruned. Reads every customer and every event. A field that only pruned events have set is not compared.
WITH recorded AS (
    SELECT customer_id,
           max(version) AS version,
           bool_or(type = 'customer-registered') AS is_complete,
           jsonb_object_agg(key, value ORDER BY version, position) FILTER (WHERE key IS NOT NULL) AS fields
      FROM customers.events LEFT JOIN LATERAL jsonb_each(changes) ON true
     GROUP BY customer_id
)
SELECT customer.customer_id, recorded.customer_id IS NULL AS is_unknown
  FROM customers.customers AS customer
  LEFT JOIN recorded USING (customer_id)
 WHERE CASE WHEN recorded.customer_id IS NULL
            THEN NOT EXISTS (SELECT FROM customers.feed_epochs WHERE pruned_to > 0)
            ELSE recorded.version <> customer.version
                 OR recorded.fields ? 'email' AND recorded.fields ->> 'email' <> customer.email
                 OR recorded.fields ? 'status' AND recorded.fields ->> 'status' <> customer.status
                 OR (recorded.is_complete OR recorded.fields ? 'name')
                    AND recorded.fields ->> 'name' IS DISTINCT FROM customer.name
       END
   AND NOT EXISTS (SELECT FROM customers.erasures WHERE erasures.customer_id = customer.customer_id)
