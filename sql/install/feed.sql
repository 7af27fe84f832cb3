CREATE FUNCTION read_events(after bigint, batch_size int DEFAULT 100)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, customer_id uuid, version bigint,
                   occurred_at timestamptz, event jsonb)
    LANGUAGE c VOLATILE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'read_events_wrapper';
COMMENT ON FUNCTION read_events(bigint, int) IS
'The feed past a position, in order: what has been committed, and nothing that another event could still come before.
after: the last position read, 0 for the beginning; batch_size: 1 to 10000.
Refuses with 22023 (batch size out of range), 25001 (outside READ COMMITTED), 25006 (on a standby), 55000 (the tables are not as they were made), PT410 (events after the position are gone: copy everything again).';

CREATE FUNCTION feed_position()
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'feed_position_wrapper';
COMMENT ON FUNCTION feed_position() IS
'The position of the last event up to which the feed is complete; 0 where it is empty. Where a consumer that copies the table begins.
Refuses with 25001 (outside READ COMMITTED), 25006 (on a standby), 55000 (the tables are not as they were made).';

CREATE FUNCTION subscribe(consumer text, after bigint DEFAULT 0)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'subscribe_wrapper';
COMMENT ON FUNCTION subscribe(text, bigint) IS
'Keeps a place in the feed under a name; a consumer that has one keeps the one it has.
consumer: the name; after: where to begin, 0 for the beginning; where a consumer that has a place has read to.
Refuses with 22021 (a name that is not UTF-8), 22023 (no name or one of more than 200 octets, a position beyond feed_position()), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT410 (events after the position were pruned, or the position was lost by a failover or a restore: copy everything again).';

CREATE FUNCTION unsubscribe(consumer text)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'unsubscribe_wrapper';
COMMENT ON FUNCTION unsubscribe(text) IS
'Forgets a consumer and its place.
consumer: the name.
Refuses with 22021 (a name that is not UTF-8), 22023 (no name or one of more than 200 octets), 25006 (nothing may be written here), 55000 (the tables are not as they were made).';

CREATE FUNCTION fetch_events(consumer text, batch_size int DEFAULT 100)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, customer_id uuid, version bigint,
                   occurred_at timestamptz, event jsonb)
    LANGUAGE c VOLATILE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'fetch_events_wrapper';
COMMENT ON FUNCTION fetch_events(text, int) IS
'The feed past a consumer''s place, which it locks to the end of the transaction: two workers of one consumer take turns.
consumer: the name; batch_size: 1 to 10000.
Refuses with 22021 (a name that is not UTF-8), 22023 (batch size out of range), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT404 (no such consumer), PT410 (events after the place are gone: copy everything again).';

CREATE FUNCTION acknowledge(consumer text, up_to bigint)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'acknowledge_wrapper';
COMMENT ON FUNCTION acknowledge(text, bigint) IS
'Moves a consumer''s place forward, never back.
consumer: the name; up_to: the position of the last event that it has dealt with.
Refuses with 22021 (a name that is not UTF-8), 22023 (no position, one beyond feed_position()), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT404 (no such consumer).';

CREATE FUNCTION prune_events(older_than interval, max_events int DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'prune_events_wrapper';
COMMENT ON FUNCTION prune_events(interval, int) IS
'Deletes old events from the beginning of the feed up to the first young one, never one that a consumer has not acknowledged, and returns how many.
older_than: how old, by occurred_at; max_events: how many at most, NULL for all.
Refuses with 22023 (no interval, one below zero, a negative number of events), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (the tables or the sequence are not as they were made).';
