//! Promise: doc/adopting.md turns a live table into the system of record, and loses no row.

use super::documentation::statements;
use crate::kit::{all, assert_feed_keeps_contract, one, refusal, server};

#[test]
fn the_page_on_adopting_runs_as_it_stands() {
    let page = include_str!("../../../doc/adopting.md");
    let blocks = page.split("```sql\n").skip(1);
    let statements: Vec<_> = blocks
        .flat_map(|block| statements(block.split_once("```").expect("a block ends").0))
        .collect();
    let database = server().empty_database("");
    let mut client = database.connect();
    let rows =
        "SELECT id::text || email || coalesce(name, '') || status || created_at || updated_at
                  FROM public.customers ORDER BY 1";
    let mut before: Vec<String> = Vec::new();
    for (i, (error, statement)) in statements.iter().enumerate() {
        assert_eq!(*error, None);
        if statement.trim() == "BEGIN;" {
            client.batch_execute("SET timezone = 'UTC'").unwrap();
            before = all(&mut client, rows, &[]);
        }
        client.batch_execute(statement).unwrap_or_else(|why| panic!("{statement}: {why:?}"));
        if i == 0 {
            client
                .batch_execute(
                    "INSERT INTO public.customers (email, name, created_at)
                     SELECT 'Person' || i || '@Example.com', 'Person ' || i, timestamp '2020-02-02 02:02:02'
                       FROM generate_series(1, 50) AS i;
                     CREATE TABLE public.orders (customer_id uuid REFERENCES public.customers);
                     INSERT INTO public.orders SELECT id FROM public.customers",
                )
                .unwrap();
        }
    }
    // timestamptz prints its offset.
    let after: Vec<String> =
        all(&mut client, rows, &[]).into_iter().map(|row: String| row.replace("+00", "")).collect();
    assert_eq!(before.len(), 50);
    assert_eq!(after, before);
    assert_feed_keeps_contract(&mut client, 50);
    let complaints = "SELECT count(*) FROM customers.verify() WHERE NOT ok";
    assert_eq!(one::<i64>(&mut client, complaints, &[]), 0);
    // The old name works, and the rules hold behind it.
    client
        .batch_execute(
            "INSERT INTO public.customers (email) VALUES ('New@Example.com');
             UPDATE public.customers SET name = 'New' WHERE email = 'new@example.com'",
        )
        .unwrap();
    assert_feed_keeps_contract(&mut client, 52);
    let delete = client.batch_execute("DELETE FROM public.customers");
    assert_eq!(refusal(delete).code().code(), "23514");
}
