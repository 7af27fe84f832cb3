-- Addresses compare by their bytes, in every database. Run with the rights of the table's owner: PostgreSQL evaluates the
-- owner's CHECKs on the column again.
DO $collation$
BEGIN
    IF (SELECT attcollation <> 'pg_catalog."C"'::regcollation
          FROM pg_attribute WHERE attrelid = 'customers.customers'::regclass AND attname = 'email') THEN
        BEGIN
            ALTER TABLE customers.customers ALTER email TYPE text COLLATE "C";
        EXCEPTION WHEN feature_not_supported THEN
            RAISE EXCEPTION USING
                ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = 'the column email of customers.customers is used, and cannot get the collation "C"',
                DETAIL  = SQLERRM,
                HINT    = 'Drop the view, policy, trigger or generated column that uses it, attach, and create it again.';
        END;
    END IF;
END
$collation$;
