-- Triggers of the owner's that do what the guard does, or undo it.
DO $warnings$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT tgname AS name, tgname > 'guard' AS is_late,
               prosrc ~* 'updated_at' OR encode(tgargs, 'escape') ~* 'updated_at' AS sets_updated_at
          FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
         WHERE tgrelid = 'customers.customers'::regclass AND NOT tgisinternal
           AND tgtype & 3 = 3 AND tgtype & 20 <> 0 AND tgname <> 'guard'
         ORDER BY tgname
    LOOP
        IF own.sets_updated_at THEN
            RAISE WARNING USING
                MESSAGE = format('the trigger %I on customers.customers seems to set updated_at, as the guard does', own.name),
                HINT    = format('DROP TRIGGER %I ON customers.customers;', own.name);
        ELSIF own.is_late THEN
            RAISE WARNING USING
                MESSAGE = format('the trigger %I on customers.customers fires after the guard', own.name),
                DETAIL  = 'PostgreSQL fires triggers by name; what this one writes is checked by no rule.',
                HINT    = format('ALTER TRIGGER %I ON customers.customers RENAME TO %I;', own.name,
                                 left('before_' || own.name, 63));
        END IF;
    END LOOP;
END
$warnings$;
