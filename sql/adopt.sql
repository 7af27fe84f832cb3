-- A table of customers that was there before gets what it lacks, and keeps what its owner chose.
ALTER TABLE customers.customers ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1;

DO $adopt$
DECLARE
    customers regclass = 'customers.customers';
    lacking   record;
BEGIN
    FOR lacking IN
        SELECT wanted.name, wanted.value
          FROM (VALUES ('customer_id', 'gen_random_uuid()'), ('status', quote_literal('ACTIVE')),
                       ('registered_at', 'now()'), ('updated_at', 'now()')) AS wanted (name, value)
          JOIN pg_attribute ON attrelid = customers AND attname = wanted.name
         WHERE NOT atthasdef
    LOOP
        EXECUTE format('ALTER TABLE customers.customers ALTER %I SET DEFAULT %s', lacking.name, lacking.value);
    END LOOP;

    FOR lacking IN
        SELECT attname AS name
          FROM pg_attribute
         WHERE attrelid = customers
           AND attname IN ('email', 'status', 'registered_at', 'updated_at')
           AND NOT attnotnull
    LOOP
        EXECUTE format('ALTER TABLE customers.customers ALTER %I SET NOT NULL', lacking.name);
    END LOOP;

    -- Addresses compare by their bytes, in every database.
    IF (SELECT attcollation <> 'pg_catalog."C"'::regcollation
          FROM pg_attribute WHERE attrelid = customers AND attname = 'email') THEN
        ALTER TABLE customers.customers ALTER email TYPE text COLLATE "C";
    END IF;

    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = customers AND contype = 'p') THEN
        ALTER TABLE customers.customers ADD PRIMARY KEY (customer_id);
    END IF;

    IF NOT EXISTS (SELECT FROM pg_index
                    WHERE indrelid = customers AND indisunique AND indpred IS NULL AND indnkeyatts = 1
                      AND indkey[0] = (SELECT attnum FROM pg_attribute
                                        WHERE attrelid = customers AND attname = 'email')) THEN
        ALTER TABLE customers.customers ADD CONSTRAINT customers_email_key UNIQUE (email);
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
