//! Promise: the threat model lists every disclosure that an extension cannot prevent, with the setting that
//! avoids it.

use crate::kit::{call, database, one};

/// The disclosures: words that must occur in one paragraph, list entry or table row.
const GETS_OUT: [&[&str]; 6] = [
    &["log_statement"],
    &["log_lock_waits", "off"],
    &["auto_explain", "log_nested_statements", "off"],
    &["JSON", "before"],
    &["pg_stats", "ANALYZE"],
    &["log_parameter_max_length"],
];

/// Paragraphs, list entries and table rows, each as one line.
fn passages(page: &str) -> Vec<String> {
    let mut passages = vec![String::new()];
    for line in page.lines() {
        if line.trim().is_empty() || line.starts_with(['*', '|', '#', '-']) {
            passages.push(String::new());
        }
        let passage = passages.last_mut().expect("there is one");
        passage.push_str(line);
        passage.push(' ');
    }
    passages
}

#[test]
fn the_threat_model_lists_what_no_extension_can_keep_out() {
    let passages = passages(include_str!("../../../doc/threat_model.md"));
    for words in GETS_OUT {
        let told = passages.iter().any(|passage| words.iter().all(|word| passage.contains(word)));
        assert!(told, "no passage tells of {words:?}");
    }
}

/// Statistics gathered by ANALYZE show values until the next ANALYZE.
#[test]
fn an_erasure_clears_the_statistics_or_says_that_analyze_does() {
    let mut client = database().connect();
    client
        .batch_execute(
            "INSERT INTO customers.customers (email, name)
             SELECT 'zyxw' || i || '@example.com', 'Zyxw ' || i FROM generate_series(1, 50) AS i;
             ANALYZE customers.customers, customers.events",
        )
        .unwrap();
    let told = "SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = 'customers'
                    AND concat(most_common_vals, histogram_bounds) LIKE '%zyxw25@example.com%')";
    assert!(one::<bool>(&mut client, told, &[]));
    let her = "SELECT customer_id FROM customers.customers WHERE name = 'Zyxw 25'";
    let id: uuid::Uuid = one(&mut client, her, &[]);
    call(&mut client, "erase_customer($1)", &[&id]).unwrap();
    if one::<bool>(&mut client, told, &[]) {
        let comment = "SELECT obj_description('customers.erase_customer'::regproc, 'pg_proc')";
        let comment: String = one(&mut client, comment, &[]);
        assert!(comment.contains("ANALYZE"), "{comment}");
    }
    client.batch_execute("ANALYZE customers.customers, customers.events").unwrap();
    assert!(!one::<bool>(&mut client, told, &[]));
}
