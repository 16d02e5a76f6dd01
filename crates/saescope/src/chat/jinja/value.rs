//! Values of a template, as Python has them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault};
use super::limits::deepen;
use super::syntax::{Const, For, Macro};

#[derive(Clone)]
pub(super) enum Value {
    /// A name or an attribute that does not exist, and what to say about it.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    List(Rc<Sequence>),
    Tuple(Rc<Sequence>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(Range),
    Stream(Rc<Stream>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    Function(Rc<Function>),
}

/// The values of a list or a tuple.
pub(super) struct Sequence {
    pub(super) items: Rc<Vec<Value>>,
    pub(super) depth: usize,
    /// True for a pair of `groupby`, whose members have names.
    pub(super) is_group: bool,
}

/// Keys and values in their order. Keys are few, so they are searched one by one.
pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    pub(super) depth: usize,
}

/// The three views of a map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

/// Values that can be taken once. Faults come out where Python would have met them.
pub(super) struct Stream {
    pub(super) items: RefCell<VecDeque<Result<Value, Fault>>>,
    pub(super) depth: usize,
}

/// The one kind of value that a template can change.
pub(super) struct Namespace {
    pub(super) attributes: RefCell<Vec<(Arc<str>, Value)>>,
}

/// The variable `loop`.
pub(super) struct Loop {
    pub(super) items: Rc<Vec<Value>>,
    pub(super) index: Cell<usize>,
    /// Depth of a recursive loop, from 0.
    pub(super) depth: usize,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// The loop and its surroundings, if it is recursive.
    pub(super) again: Option<(Arc<For>, Rc<Scope>)>,
}

pub(super) enum Function {
    /// One of the functions that every template has.
    Global(&'static str),
    /// A method of a value.
    Method(Value, Arc<str>),
    Macro(Arc<Macro>, Rc<Scope>),
    Cycler(Vec<Value>, Cell<usize>),
    Joiner(Value, Cell<bool>),
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    pub(super) fn undefined(reason: impl Into<Arc<str>>) -> Value {
        Value::Undefined(reason.into())
    }

    pub(super) fn count(count: usize) -> Value {
        Value::Int(count as i128)
    }

    pub(super) fn list(items: Vec<Value>) -> Result<Value, Fault> {
        Ok(Value::List(Sequence::new(items)?))
    }

    pub(super) fn tuple(items: Vec<Value>) -> Result<Value, Fault> {
        Ok(Value::Tuple(Sequence::new(items)?))
    }

    pub(super) fn dict(entries: Vec<(Value, Value)>) -> Result<Value, Fault> {
        let depths = entries.iter().map(|(_, value)| value.depth());
        let depth = deepen(depths)?;
        Ok(Value::Dict(Rc::new(Dict { entries, depth })))
    }

    pub(super) fn stream(items: Vec<Result<Value, Fault>>) -> Result<Value, Fault> {
        let depth = deepen(items.iter().flatten().map(Value::depth))?;
        let items = RefCell::new(items.into());
        Ok(Value::Stream(Rc::new(Stream { items, depth })))
    }

    pub(super) fn function(function: Function) -> Value {
        Value::Function(Rc::new(function))
    }

    /// Levels of values inside of this one. What changes counts as one.
    pub(super) fn depth(&self) -> usize {
        match self {
            Value::List(all) | Value::Tuple(all) => all.depth,
            Value::Dict(dict) | Value::View(_, dict) => dict.depth,
            Value::Stream(stream) => stream.depth,
            Value::Function(function) => match &**function {
                Function::Method(value, _) => value.depth() + 1,
                Function::Cycler(items, _) => items.iter().map(Value::depth).max().unwrap_or(0) + 1,
                Function::Joiner(value, _) => value.depth() + 1,
                Function::Global(_) | Function::Macro(..) => 0,
            },
            _ => 0,
        }
    }

    /// The name of the type in Python.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Range(_) => "range",
            Value::Stream(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Function(_) => "function",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(all) | Value::Tuple(all) => !all.items.is_empty(),
            Value::Dict(dict) | Value::View(_, dict) => !dict.entries.is_empty(),
            Value::Range(range) => range.len() > 0,
            Value::Loop(all) => !all.items.is_empty(),
            Value::Stream(_) | Value::Namespace(_) | Value::Function(_) => true,
        }
    }

    /// The fault of using an undefined value, if it is one.
    pub(super) fn defined(&self) -> Result<(), Fault> {
        match self {
            Value::Undefined(reason) => Err(fault(&**reason)),
            _ => Ok(()),
        }
    }

    /// An integer, which `true` and `false` are too.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&Const> for Value {
    fn from(constant: &Const) -> Value {
        match constant {
            Const::None => Value::None,
            Const::Bool(value) => Value::Bool(*value),
            Const::Int(value) => Value::Int(*value),
            Const::Float(value) => Value::Float(*value),
            Const::Str(text) => Value::Str(text.clone()),
        }
    }
}

impl Sequence {
    fn new(items: Vec<Value>) -> Result<Rc<Sequence>, Fault> {
        let depth = deepen(items.iter().map(Value::depth))?;
        Ok(Rc::new(Sequence {
            items: Rc::new(items),
            depth,
            is_group: false,
        }))
    }

    /// A pair of `groupby`.
    pub(super) fn group(key: Value, members: Value) -> Result<Value, Fault> {
        let items = vec![key, members];
        let depth = deepen(items.iter().map(Value::depth))?;
        Ok(Value::Tuple(Rc::new(Sequence {
            items: Rc::new(items),
            depth,
            is_group: true,
        })))
    }
}

impl Dict {
    /// The value of a text key.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let found = self
            .entries
            .iter()
            .find(|(key, _)| key.as_str() == Some(name));
        found.map(|(_, value)| value)
    }
}

impl Range {
    pub(super) fn len(&self) -> i128 {
        let span = if self.step > 0 {
            self.stop.saturating_sub(self.start)
        } else {
            self.start.saturating_sub(self.stop)
        };
        if span <= 0 {
            return 0;
        }
        let step = self.step.saturating_abs();
        (span - 1) / step + 1
    }

    pub(super) fn get(&self, index: i128) -> Value {
        Value::Int(self.start + index * self.step)
    }
}

impl Namespace {
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let attributes = self.attributes.borrow();
        let found = attributes.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value.clone())
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut attributes = self.attributes.borrow_mut();
        let old = match attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => std::mem::replace(old, value),
            None => {
                attributes.push((name.clone(), value));
                return;
            }
        };
        drop(attributes);
        // The old value is dropped once nothing borrows the namespace.
        drop(old);
    }
}

/// Variables, and those around them.
pub(super) struct Scope {
    pub(super) names: RefCell<Vec<(Arc<str>, Value)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub(super) fn new(names: Vec<(Arc<str>, Value)>, parent: Option<&Rc<Scope>>) -> Rc<Scope> {
        Rc::new(Scope {
            names: RefCell::new(names),
            parent: parent.cloned(),
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            let names = here.names.borrow();
            if let Some((_, value)) = names.iter().find(|(known, _)| **known == *name) {
                return Some(value.clone());
            }
            scope = here.parent.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        let old = match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => std::mem::replace(old, value),
            None => {
                names.push((name.clone(), value));
                return;
            }
        };
        drop(names);
        // The old value is dropped once nothing borrows the scope.
        drop(old);
    }
}
