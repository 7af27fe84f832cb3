-- Whether a worker sends what notify = worker leaves to it. $1: the setting's value; $2: whether the worker serves
-- this database. On a standby none does: it starts with the promotion.
SELECT false AS ok,
       format('customer_db.notify is "worker", but no worker serves this database, so writers notify in their own '
              'transactions: LOAD ''customer_db''; %s restart the server. Or: ALTER DATABASE %I SET customer_db.notify = ''transaction'';',
              CASE WHEN 'customer_db' <> ALL (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))
                   THEN format('ALTER SYSTEM SET shared_preload_libraries = %s; ALTER SYSTEM SET customer_db.databases = %L;',
                               (SELECT string_agg(quote_literal(trim(library)), ', ')
                                  FROM regexp_split_to_table(concat_ws(',', nullif(current_setting('shared_preload_libraries'), ''),
                                                                       'customer_db'), ',') AS library),
                               current_database())
                   WHEN current_database() = ANY (string_to_array(replace(current_setting('customer_db.databases'), ' ', ''), ','))
                   THEN 'the settings name it, so see the server log, and'
                   ELSE format('ALTER SYSTEM SET customer_db.databases = %L;',
                               concat_ws(',', nullif(current_setting('customer_db.databases'), ''), current_database()))
              END, current_database()) AS detail
 WHERE $1 = 'worker' AND NOT $2 AND NOT pg_is_in_recovery()
