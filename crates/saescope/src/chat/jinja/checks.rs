//! Tests of Jinja: what stands after `is`.

use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault, unknown};
use super::filters::{is_filter, is_test};
use super::interpreter::{Args, Interpreter};
use super::operators::{compare, operate};
use super::print::text_of;
use super::syntax::{Comparison, Operator};
use super::value::Value;

impl Interpreter {
    /// True if `value` passes the test `name`.
    pub(super) fn test(&self, name: &Arc<str>, value: &Value, args: Args) -> Result<bool, Fault> {
        self.limits.step(1)?;
        let comparison = match &**name {
            "eq" | "equalto" | "==" => Some(Comparison::Eq),
            "ne" | "!=" => Some(Comparison::Ne),
            "lt" | "lessthan" | "<" => Some(Comparison::Lt),
            "le" | "<=" => Some(Comparison::Le),
            "gt" | "greaterthan" | ">" => Some(Comparison::Gt),
            "ge" | ">=" => Some(Comparison::Ge),
            _ => None,
        };
        if let Some(comparison) = comparison {
            return compare(&self.limits, comparison, value, &needed(args, name)?);
        }
        match &**name {
            "in" => return self.contains(&needed(args, name)?, value),
            "sameas" => return Ok(same(value, &needed(args, name)?)),
            "divisibleby" => {
                let rest = operate(&self.limits, Operator::Mod, value, &needed(args, name)?)?;
                return compare(&self.limits, Comparison::Eq, &rest, &Value::Int(0));
            }
            _ => {}
        }
        let [] = args.take(name, [])?;
        Ok(match &**name {
            "even" | "odd" => {
                let rest = operate(&self.limits, Operator::Mod, value, &Value::Int(2))?;
                let wanted = Value::Int(i128::from(&**name == "odd"));
                compare(&self.limits, Comparison::Eq, &rest, &wanted)?
            }
            "lower" | "upper" => {
                let text = text_of(&self.limits, value)?;
                let method = if &**name == "lower" {
                    "islower"
                } else {
                    "isupper"
                };
                self.str_method(&text, method, Args::default())?.is_true()
            }
            "filter" => value.as_str().is_some_and(is_filter),
            "test" => value.as_str().is_some_and(is_test),
            kind => return is_of(kind, value).ok_or_else(|| unknown("test", name)),
        })
    }
}

/// True if a value is of the kind that a test without arguments asks for; none if there is no such test.
fn is_of(kind: &str, value: &Value) -> Option<bool> {
    Some(match kind {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "escaped" => false,
        // An undefined value has the methods of a list and of a function, which fail only when called.
        "callable" => matches!(
            value,
            Value::Undefined(_) | Value::Function(_) | Value::Loop(_)
        ),
        "sequence" => matches!(
            value,
            Value::Undefined(_)
                | Value::Str(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::Range(_)
        ),
        "iterable" => !matches!(
            value,
            Value::None
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Float(_)
                | Value::Namespace(_)
                | Value::Function(_)
        ),
        _ => return None,
    })
}

fn needed(args: Args, name: &str) -> Result<Value, Fault> {
    let [other] = args.positional_only(name)?;
    other.ok_or_else(|| fault(format!("the test `{name}` needs an argument")))
}

/// True if two values are one object in Python, as far as that can be told.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Function(a), Value::Function(b)) => Rc::ptr_eq(a, b),
        _ => false,
    }
}
