//! Operators between values, as Python has them.

use std::cmp::Ordering;
use std::rc::Rc;

use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::limits::Limits;
use super::percent::percent;
use super::syntax::{Comparison, Operator};
use super::value::{Value, View};

/// The value of a binary operator.
pub(super) fn operate(
    limits: &Limits,
    operator: Operator,
    a: &Value,
    b: &Value,
) -> Result<Value, Fault> {
    a.defined()?;
    if let (Operator::Mod, Value::Str(pattern)) = (operator, a) {
        return Ok(Value::text(percent(limits, pattern, b)?));
    }
    b.defined()?;
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return integers(operator, x, y);
    }
    if let (Some(x), Some(y)) = (a.as_float(), b.as_float()) {
        return floats(operator, x, y).map(Value::Float);
    }
    match (operator, a, b) {
        (Operator::Add, Value::Str(x), Value::Str(y)) => {
            limits.charge(x.len() + y.len())?;
            Ok(Value::text([&**x, &**y].concat()))
        }
        (Operator::Add, Value::List(x), Value::List(y)) => {
            limits.elements(x.items.len() + y.items.len())?;
            Value::list([&x.items[..], &y.items[..]].concat())
        }
        (Operator::Add, Value::Tuple(x), Value::Tuple(y)) => {
            limits.elements(x.items.len() + y.items.len())?;
            Value::tuple([&x.items[..], &y.items[..]].concat())
        }
        (Operator::Mul, _, _) => repeat(limits, a, b),
        _ => Err(unsupported(operator, a, b)),
    }
}

fn unsupported(operator: Operator, a: &Value, b: &Value) -> Fault {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Mod => "%",
        Operator::Pow => "**",
    };
    let (a, b) = (a.kind(), b.kind());
    fault(format!(
        "unsupported operand type(s) for {sign}: '{a}' and '{b}'"
    ))
}

/// A text or a list, several times.
fn repeat(limits: &Limits, a: &Value, b: &Value) -> Result<Value, Fault> {
    let (value, count) = match (a.as_int(), b.as_int()) {
        (None, Some(count)) => (a, count),
        (Some(count), None) => (b, count),
        _ => return Err(unsupported(Operator::Mul, a, b)),
    };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) => {
            limits.charge(text.len().saturating_mul(count))?;
            // Nothing repeats without memory that the limits have granted.
            let count = if text.is_empty() { 0 } else { count };
            Ok(Value::text(text.repeat(count)))
        }
        Value::List(all) | Value::Tuple(all) => {
            limits.elements(all.items.len().saturating_mul(count))?;
            let count = if all.items.is_empty() { 0 } else { count };
            let mut items = Vec::new();
            for _ in 0..count {
                items.extend(all.items.iter().cloned());
            }
            if matches!(value, Value::List(_)) {
                Value::list(items)
            } else {
                Value::tuple(items)
            }
        }
        _ => Err(unsupported(Operator::Mul, a, b)),
    }
}

fn integers(operator: Operator, x: i128, y: i128) -> Result<Value, Fault> {
    let zero = || fault("integer division or modulo by zero");
    let result = match operator {
        Operator::Add => x.checked_add(y),
        Operator::Sub => x.checked_sub(y),
        Operator::Mul => x.checked_mul(y),
        Operator::Div | Operator::FloorDiv | Operator::Mod if y == 0 => return Err(zero()),
        Operator::Div => return Ok(Value::Float(x as f64 / y as f64)),
        Operator::FloorDiv => {
            let rounded = x.checked_div(y);
            let below = x.checked_rem(y).is_some_and(|rest| rest != 0) && (x < 0) != (y < 0);
            rounded.map(|quotient| quotient - i128::from(below))
        }
        Operator::Mod => {
            let rest = x.checked_rem(y);
            rest.map(|rest| {
                if rest != 0 && (rest < 0) != (y < 0) {
                    rest + y
                } else {
                    rest
                }
            })
        }
        Operator::Pow if y < 0 => return floats(operator, x as f64, y as f64).map(Value::Float),
        Operator::Pow => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
    };
    let result = result.ok_or_else(|| fault("an integer is larger than 128 bits"))?;
    Ok(Value::Int(result))
}

fn floats(operator: Operator, x: f64, y: f64) -> Result<f64, Fault> {
    let zero = || fault("float division by zero");
    Ok(match operator {
        Operator::Add => x + y,
        Operator::Sub => x - y,
        Operator::Mul => x * y,
        Operator::Div | Operator::FloorDiv | Operator::Mod if y == 0.0 => return Err(zero()),
        Operator::Div => x / y,
        Operator::FloorDiv => (x / y).floor(),
        Operator::Mod => {
            let rest = x % y;
            if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
                rest + y
            } else {
                rest
            }
        }
        Operator::Pow if x == 0.0 && y < 0.0 => return Err(zero()),
        Operator::Pow => x.powf(y),
    })
}

/// True if two values are equal; values of different types are not.
pub(super) fn equals(limits: &Limits, a: &Value, b: &Value) -> Result<bool, Fault> {
    limits.step(1)?;
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return Ok(x == y);
    }
    if let (Some(x), Some(y)) = (a.as_float(), b.as_float()) {
        return Ok(x == y);
    }
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(x), Value::Str(y)) => {
            limits.scan(x.len().min(y.len()))?;
            x == y
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            Rc::ptr_eq(x, y) || all_equal(limits, &x.items, &y.items)?
        }
        (Value::Dict(x), Value::Dict(y)) => {
            if Rc::ptr_eq(x, y) {
                return Ok(true);
            }
            if x.entries.len() != y.entries.len() {
                return Ok(false);
            }
            for (key, value) in &x.entries {
                match lookup(limits, &y.entries, key)? {
                    Some(other) if equals(limits, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Range(x), Value::Range(y)) => {
            x.len() == y.len()
                && (0..x.len().min(2)).all(|at| x.start + at * x.step == y.start + at * y.step)
        }
        (Value::Namespace(x), Value::Namespace(y)) => Rc::ptr_eq(x, y),
        (Value::Stream(x), Value::Stream(y)) => Rc::ptr_eq(x, y),
        (Value::Loop(x), Value::Loop(y)) => Rc::ptr_eq(x, y),
        (Value::Function(x), Value::Function(y)) => Rc::ptr_eq(x, y),
        _ => false,
    })
}

fn all_equal(limits: &Limits, a: &[Value], b: &[Value]) -> Result<bool, Fault> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (x, y) in a.iter().zip(b) {
        if !equals(limits, x, y)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value of a key in a map.
pub(super) fn lookup<'e>(
    limits: &Limits,
    entries: &'e [(Value, Value)],
    key: &Value,
) -> Result<Option<&'e Value>, Fault> {
    limits.step(entries.len() / 16)?;
    if let Value::Str(name) = key {
        let found = entries
            .iter()
            .find(|(known, _)| known.as_str() == Some(name));
        return Ok(found.map(|(_, value)| value));
    }
    for (known, value) in entries {
        if equals(limits, known, key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Puts a value into a map.
pub(super) fn insert(
    limits: &Limits,
    entries: &mut Vec<(Value, Value)>,
    key: Value,
    value: Value,
) -> Result<(), Fault> {
    hashable(&key)?;
    limits.step(entries.len() / 16)?;
    for (known, old) in entries.iter_mut() {
        let is_same = match (&*known, &key) {
            (Value::Str(a), Value::Str(b)) => a == b,
            (known, key) => equals(limits, known, key)?,
        };
        if is_same {
            *old = value;
            return Ok(());
        }
    }
    entries.push((key, value));
    Ok(())
}

/// Refuses what Python takes as no key.
pub(super) fn hashable(value: &Value) -> Result<(), Fault> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::View(..) => {
            Err(fault(format!("unhashable type: '{}'", value.kind())))
        }
        Value::Tuple(all) => all.items.iter().try_for_each(hashable),
        _ => Ok(()),
    }
}

/// The truth of a comparison other than `in`.
pub(super) fn compare(
    limits: &Limits,
    comparison: Comparison,
    a: &Value,
    b: &Value,
) -> Result<bool, Fault> {
    let (sign, holds): (&str, fn(Ordering) -> bool) = match comparison {
        Comparison::Eq => return equals(limits, a, b),
        Comparison::Ne => return Ok(!equals(limits, a, b)?),
        Comparison::Lt => ("<", Ordering::is_lt),
        Comparison::Le => ("<=", Ordering::is_le),
        Comparison::Gt => (">", Ordering::is_gt),
        _ => (">=", Ordering::is_ge),
    };
    Ok(order(limits, sign, a, b)?.is_some_and(holds))
}

/// The order of two values; none for a number that is not one.
pub(super) fn order(
    limits: &Limits,
    sign: &str,
    a: &Value,
    b: &Value,
) -> Result<Option<Ordering>, Fault> {
    limits.step(1)?;
    a.defined()?;
    b.defined()?;
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return Ok(Some(x.cmp(&y)));
    }
    if let (Some(x), Some(y)) = (a.as_float(), b.as_float()) {
        return Ok(x.partial_cmp(&y));
    }
    match (a, b) {
        (Value::Str(x), Value::Str(y)) => {
            limits.scan(x.len().min(y.len()))?;
            Ok(Some(x.cmp(y)))
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            for (x, y) in x.items.iter().zip(y.items.iter()) {
                if !equals(limits, x, y)? {
                    return order(limits, sign, x, y);
                }
            }
            Ok(Some(x.items.len().cmp(&y.items.len())))
        }
        _ => {
            let (a, b) = (a.kind(), b.kind());
            let text = format!("'{sign}' not supported between instances of '{a}' and '{b}'");
            Err(fault(text))
        }
    }
}

impl Interpreter {
    pub(super) fn all_equal(&self, a: &[Value], b: &[Value]) -> Result<bool, Fault> {
        all_equal(&self.limits, a, b)
    }

    /// True if `item` is in `container`.
    pub(super) fn contains(&self, container: &Value, item: &Value) -> Result<bool, Fault> {
        match container {
            Value::Str(text) => {
                let Value::Str(part) = item else {
                    item.defined()?;
                    let found = item.kind();
                    let text = "'in <string>' requires string as left operand";
                    return Err(fault(format!("{text}, not {found}")));
                };
                self.limits.scan(text.len())?;
                Ok(text.contains(&**part))
            }
            Value::Dict(dict) | Value::View(View::Keys, dict) => {
                hashable(item)?;
                Ok(lookup(&self.limits, &dict.entries, item)?.is_some())
            }
            Value::Range(range) => Ok(item.as_int().is_some_and(|value| {
                let away = value.saturating_sub(range.start);
                away % range.step == 0 && (0..range.len()).contains(&(away / range.step))
            })),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(fault(format!(
                "argument of type '{}' is not iterable",
                container.kind()
            ))),
            _ => {
                for value in self.iterate(container)? {
                    if equals(&self.limits, &value, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// The values that a loop over `value` meets.
    pub(super) fn iterate(&self, value: &Value) -> Result<Vec<Value>, Fault> {
        let items: Vec<Value> = match value {
            Value::Undefined(_) => Vec::new(),
            Value::Str(text) => {
                self.limits.elements(text.len())?;
                let mut buffer = [0; 4];
                let one = |c: char| Value::text(&*c.encode_utf8(&mut buffer));
                return Ok(text.chars().map(one).collect());
            }
            Value::List(all) | Value::Tuple(all) => all.items.to_vec(),
            Value::Dict(dict) | Value::View(View::Keys, dict) => {
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Value::View(View::Values, dict) => dict
                .entries
                .iter()
                .map(|(_, value)| value.clone())
                .collect(),
            Value::View(View::Items, dict) => {
                let pair =
                    |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
                self.limits.elements(dict.entries.len())?;
                dict.entries.iter().map(pair).collect::<Result<_, _>>()?
            }
            Value::Range(range) => {
                let count = usize::try_from(range.len()).unwrap_or(usize::MAX);
                self.limits.elements(count)?;
                return Ok((0..range.len()).map(|at| range.get(at)).collect());
            }
            Value::Stream(stream) => {
                let items = stream.items.take();
                items.into_iter().collect::<Result<_, _>>()?
            }
            other => {
                return Err(fault(format!("'{}' object is not iterable", other.kind())));
            }
        };
        self.limits.elements(items.len())?;
        Ok(items)
    }
}
