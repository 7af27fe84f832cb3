CREATE FUNCTION read_events(after bigint, batch_size int DEFAULT 100)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, customer_id uuid, version bigint,
                   occurred_at timestamptz, event jsonb)
    LANGUAGE c VOLATILE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'read_events_wrapper';
COMMENT ON FUNCTION read_events(bigint, int) IS
'The feed past a position, in order: what has been committed, and nothing that another event could still come before.
after: the last position read, 0 for the beginning; batch_size: 1 to 10000.
Refuses with 22023 (batch size out of range, a position beyond the end of the feed), 25001 (outside READ COMMITTED), 25006 (on a standby).';

CREATE FUNCTION subscribe(consumer text, after bigint DEFAULT 0)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'subscribe_wrapper';
COMMENT ON FUNCTION subscribe(text, bigint) IS
'Keeps a place in the feed under a name; a consumer that has one keeps the one it has.
consumer: the name; after: where to begin, 0 for the beginning.
Refuses with 22023 (no name, a position beyond the end of the feed).';

CREATE FUNCTION unsubscribe(consumer text)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'unsubscribe_wrapper';
COMMENT ON FUNCTION unsubscribe(text) IS
'Forgets a consumer and its place.
consumer: the name.
Refuses with 22023 (no name).';

CREATE FUNCTION fetch_events(consumer text, batch_size int DEFAULT 100)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, customer_id uuid, version bigint,
                   occurred_at timestamptz, event jsonb)
    LANGUAGE c VOLATILE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'fetch_events_wrapper';
COMMENT ON FUNCTION fetch_events(text, int) IS
'The feed past a consumer''s place, which it locks to the end of the transaction: two workers of one consumer take turns.
consumer: the name; batch_size: 1 to 10000.
Refuses with 22023 (batch size out of range, a place beyond the end of the feed), 25001 (outside READ COMMITTED), 25006 (on a standby), PT404 (no such consumer).';

CREATE FUNCTION acknowledge(consumer text, "position" bigint)
    RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'acknowledge_wrapper';
COMMENT ON FUNCTION acknowledge(text, bigint) IS
'Moves a consumer''s place forward, never back.
consumer: the name; position: the last event that it has dealt with.
Refuses with 22023 (no position, one beyond the end of the feed), PT404 (no such consumer).';

CREATE FUNCTION prune_events(older_than interval)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'prune_events_wrapper';
COMMENT ON FUNCTION prune_events(interval) IS
'Deletes old events, never one that a consumer has not acknowledged, and returns how many.
older_than: how old, by occurred_at.
Refuses with 22023 (no interval, one below zero).';
