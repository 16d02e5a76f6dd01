//! Values as the text that Python makes of them.

use std::sync::Arc;

use super::fault::{Fault, fault};
use super::limits::Limits;
use super::text::{float, quoted};
use super::value::{Value, View};

/// A value as `str` writes it.
pub(super) fn text_of(limits: &Limits, value: &Value) -> Result<Arc<str>, Fault> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::Undefined(_) => Ok(Arc::from("")),
        other => Ok(repr(limits, other)?.into()),
    }
}

/// A value as `repr` writes it.
pub(super) fn repr(limits: &Limits, value: &Value) -> Result<String, Fault> {
    let mut out = String::new();
    write(limits, value, &mut out)?;
    Ok(out)
}

fn write(limits: &Limits, value: &Value, out: &mut String) -> Result<(), Fault> {
    limits.step(1)?;
    let before = out.len();
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text) => {
            // Before its escapes are written, which take ten bytes at most.
            limits.charge(text.len())?;
            out.push_str(&quoted(text));
        }
        Value::Range(range) if range.step == 1 => {
            out.push_str(&format!("range({}, {})", range.start, range.stop));
        }
        Value::Range(range) => {
            let (start, stop, step) = (range.start, range.stop, range.step);
            out.push_str(&format!("range({start}, {stop}, {step})"));
        }
        Value::Loop(of) => {
            out.push_str(&format!(
                "<LoopContext {}/{}>",
                of.index.get() + 1,
                of.items.len()
            ));
        }
        Value::Stream(_) | Value::Function(_) => {
            return Err(fault(
                "it prints a function or a generator, whose text differs from run to run",
            ));
        }
        _ => return limits.deeper(|| container(limits, value, out)),
    }
    limits.charge(out.len() - before)
}

fn container(limits: &Limits, value: &Value, out: &mut String) -> Result<(), Fault> {
    match value {
        Value::List(all) => listed(limits, "[", &all.items, "]", out),
        Value::Tuple(all) if all.items.len() == 1 => listed(limits, "(", &all.items, ",)", out),
        Value::Tuple(all) => listed(limits, "(", &all.items, ")", out),
        Value::Dict(dict) => mapped(limits, &dict.entries, out),
        Value::View(view, dict) => {
            let name = match view {
                View::Keys => "dict_keys([",
                View::Values => "dict_values([",
                View::Items => "dict_items([",
            };
            out.push_str(name);
            for (at, (key, value)) in dict.entries.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                match view {
                    View::Keys => write(limits, key, out)?,
                    View::Values => write(limits, value, out)?,
                    View::Items => {
                        out.push('(');
                        write(limits, key, out)?;
                        out.push_str(", ");
                        write(limits, value, out)?;
                        out.push(')');
                    }
                }
            }
            out.push_str("])");
            limits.charge(20)
        }
        Value::Namespace(namespace) => {
            let attributes = namespace.attributes.borrow();
            let named =
                |(name, value): &(Arc<str>, Value)| (Value::Str(name.clone()), value.clone());
            let entries: Vec<_> = attributes.iter().map(named).collect();
            drop(attributes);
            out.push_str("<Namespace ");
            mapped(limits, &entries, out)?;
            out.push('>');
            limits.charge(12)
        }
        _ => Ok(()),
    }
}

fn listed(
    limits: &Limits,
    begin: &str,
    items: &[Value],
    end: &str,
    out: &mut String,
) -> Result<(), Fault> {
    out.push_str(begin);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(limits, item, out)?;
    }
    out.push_str(end);
    limits.charge(2 * items.len() + 3)
}

fn mapped(limits: &Limits, entries: &[(Value, Value)], out: &mut String) -> Result<(), Fault> {
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(limits, key, out)?;
        out.push_str(": ");
        write(limits, value, out)?;
    }
    out.push('}');
    limits.charge(4 * entries.len() + 2)
}
