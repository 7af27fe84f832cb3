-- The epochs as recorded: in order, and in agreement with the events that are there. $1: the history of this server, NULL
-- on a standby; $2: whether a transaction that is still open records one.
WITH epoch AS (
    SELECT *, lag(first_position, 1, 0) OVER (ORDER BY epoch) AS previous_first FROM customers.feed_epochs
)
SELECT false AS ok,
       format('epoch %1$s begins at %2$s, which is not above the epoch before it or where that ended: '
              'UPDATE customers.feed_epochs SET previous_end = %3$s WHERE epoch = %1$s;', epoch, first_position,
              least(first_position - 1,
                    greatest(previous_first - 1, pruned_to, 0,
                             (SELECT max(position) FROM customers.events WHERE position < first_position)))) AS detail
  FROM epoch
 WHERE first_position <= previous_first OR previous_end >= first_position OR previous_end < previous_first - 1
UNION ALL
SELECT true,
       format('%s events at or below position %s, up to which the feed counts as pruned, are there; readers do not get them',
              count(*), pruned_to)
  FROM customers.events, (SELECT max(pruned_to) AS pruned_to FROM customers.feed_epochs) AS epochs
 WHERE position <= pruned_to
 GROUP BY pruned_to
UNION ALL
SELECT false,
       'no epoch is recorded, though there are events. Put the rows of customers.feed_epochs back from a backup; if there were '
       'none, the next change records what is needed, or this, which prunes nothing: SELECT customers.prune_events(''1000 years'');'
 WHERE $1 IS NOT NULL AND NOT $2 AND NOT EXISTS (SELECT FROM customers.feed_epochs)
   AND EXISTS (SELECT FROM customers.events)
UNION ALL
SELECT true,
       format('epoch %s was written by another server history; the next event begins another one', epoch)
  FROM (SELECT epoch, history FROM customers.feed_epochs ORDER BY epoch DESC LIMIT 1) AS latest
 WHERE history <> $1
