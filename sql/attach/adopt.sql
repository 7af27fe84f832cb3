-- Completes an existing table of customers, without changing what its owner chose.
DO $adopt$
DECLARE
    customers regclass = 'customers.customers';
    lacking   record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute
                    WHERE attrelid = customers AND attname = 'version' AND NOT attisdropped) THEN
        ALTER TABLE customers.customers ADD COLUMN version bigint NOT NULL DEFAULT 1;
    END IF;

    FOR lacking IN
        SELECT wanted.name, wanted.value
          FROM (VALUES ('customer_id', 'gen_random_uuid()'), ('status', quote_literal('ACTIVE')),
                       ('registered_at', 'now()'), ('updated_at', 'now()'), ('version', '1')) AS wanted (name, value)
          JOIN pg_attribute ON attrelid = customers AND attname = wanted.name
         WHERE NOT atthasdef
    LOOP
        EXECUTE format('ALTER TABLE customers.customers ALTER %I SET DEFAULT %s', lacking.name, lacking.value);
    END LOOP;

    FOR lacking IN
        SELECT attname AS name
          FROM pg_attribute
         WHERE attrelid = customers
           AND attname IN ('customer_id', 'email', 'status', 'registered_at', 'updated_at', 'version')
           AND NOT attnotnull
    LOOP
        EXECUTE format('ALTER TABLE customers.customers ALTER %I SET NOT NULL', lacking.name);
    END LOOP;

    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = customers AND contype = 'p') THEN
        ALTER TABLE customers.customers ADD PRIMARY KEY (customer_id);
    END IF;

    FOR lacking IN
        SELECT attname AS name
          FROM pg_attribute
         WHERE attrelid = customers
           AND attname IN ('customer_id', 'email')
           AND NOT EXISTS (SELECT FROM pg_index
                            WHERE indrelid = customers AND indkey[0] = attnum AND indnkeyatts = 1
                              AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL)
    LOOP
        EXECUTE format('ALTER TABLE customers.customers ADD UNIQUE (%I)', lacking.name);
    END LOOP;

    IF EXISTS (SELECT FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
                WHERE conrelid = customers AND contype IN ('p', 'u') AND condeferrable
                  AND attname IN ('customer_id', 'email')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'a key of customers.customers is deferrable',
            HINT    = 'Make it NOT DEFERRABLE, and attach again: a registration must know at once whether it may be.';
    END IF;

    IF EXISTS (SELECT FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
                WHERE relnamespace = 'customers'::regnamespace AND relname = 'idx_customers_status'
                  AND (indrelid, indkey[0]) IS DISTINCT FROM
                      (customers::oid, (SELECT attnum FROM pg_attribute
                                         WHERE attrelid = customers AND attname = 'status'))) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'customers.idx_customers_status is not the index on status',
            HINT    = 'Rename it with ALTER INDEX … RENAME TO, and attach again.';
    END IF;

    IF EXISTS (SELECT FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
                WHERE relnamespace = 'customers'::regnamespace AND relname = 'idx_events_customer'
                  AND indrelid IS DISTINCT FROM to_regclass('customers.events')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'customers.idx_events_customer is not the index on customer_id and version of customers.events',
            HINT    = 'Rename it with ALTER INDEX … RENAME TO, and attach again.';
    END IF;

    IF NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = customers AND contype = 'c'
                      AND conkey = ARRAY(SELECT attnum FROM pg_attribute
                                          WHERE attrelid = customers AND attname = 'status')) THEN
        ALTER TABLE customers.customers
            ADD CONSTRAINT customers_status_check CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED'));
    END IF;
END
$adopt$;
