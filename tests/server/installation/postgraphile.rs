//! Promise: through eg/postgraphile, clients of GraphQL register and read customers, and are told of a refusal by its
//! SQLSTATE, without an address.

use crate::kit::http::{free_ports, request};
use crate::kit::{Server, all, eventually, on_16, project, skipped};
use serde_json::{Value, json};
use std::fs;
use std::process::{Child, Command, Stdio};

const SCHEMA: &str = include_str!("../../../eg/postgraphile/schema.sql");
const README: &str = include_str!("../../../eg/postgraphile/README.md");

/// A program that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The contents of the README's blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let blocks = README.split(&format!("```{language}\n")).skip(1);
    blocks.map(|block| block.split_once("```").expect("a block ends").0.trim()).collect()
}
