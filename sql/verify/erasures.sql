-- Persons whom the ledger names and a restore has brought back.
SELECT false AS ok,
       format('%s erased customers were brought back, by a restore: SELECT customers.reapply_erasures();', count(*)) AS detail
  FROM customers.erasures AS erasure
  JOIN customers.customers AS customer USING (customer_id)
 WHERE customer.email <> 'erased+' || customer_id || '@erased.invalid' OR customer.name IS NOT NULL
    OR EXISTS (SELECT FROM customers.events AS event
                WHERE event.customer_id = erasure.customer_id
                  AND (event.changes ->> 'email' <> 'erased+' || customer_id || '@erased.invalid'
                       OR event.changes ->> 'name' IS NOT NULL))
HAVING count(*) > 0
