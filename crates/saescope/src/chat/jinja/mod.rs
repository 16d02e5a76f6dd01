//! Jinja2 as `transformers` sets it up: its sandbox, `trim_blocks`, `lstrip_blocks`, `break` and
//! `continue`, `{% generation %}`, its own `tojson`, `raise_exception` and `strftime_now`.
//!
//! Templates are written for Python, and they show its ways: how it prints lists, maps and numbers, its
//! methods of texts, what it refuses. Therefore values here are those of Python. Templates come with
//! models and are not trusted: each step, each byte that is built and each level of nesting is counted.

mod attributes;
mod checks;
mod evaluate;
mod expressions;
mod fault;
mod filters;
mod format;
mod interpreter;
mod json;
mod lexer;
mod limits;
mod lists;
mod methods;
mod operators;
mod parser;
mod percent;
mod print;
mod strings;
mod syntax;
mod text;
mod value;

use std::sync::Arc;
use std::thread;

use serde_json::{Map, Value as Json};

pub(super) use self::fault::Fault;

/// Memory of the stack that templates are read and run on, enough for the deepest nesting.
const STACK: usize = 64 << 20;

/// A template that was read.
pub(super) struct Program {
    body: syntax::Body,
}

impl Program {
    /// Reads a template.
    pub(super) fn new(source: &str) -> Result<Program, Fault> {
        with_stack(|| parser::parse(source)).map(|body| Program { body })
    }

    /// The text of the template with these variables, at a time in seconds since the beginning of 1970.
    pub(super) fn render(&self, variables: &Map<String, Json>, now: u64) -> Result<String, Fault> {
        with_stack(|| {
            let variable = |(name, value): (&String, &Json)| {
                Ok((Arc::from(name.as_str()), json::read(value)?))
            };
            let variables = variables.iter().map(variable);
            interpreter::run(&self.body, variables.collect::<Result<_, _>>()?, now)
        })
    }
}

/// Runs `inner` on a stack of its own, so that no thread's stack is too small for it.
fn with_stack<T: Send>(inner: impl FnOnce() -> Result<T, Fault> + Send) -> Result<T, Fault> {
    thread::scope(|scope| {
        let failed = || fault::fault("no thread can be started for the template");
        let builder = thread::Builder::new().stack_size(STACK);
        let running = builder.spawn_scoped(scope, inner).map_err(|_| failed())?;
        match running.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
