//! The content of a torch pickle as a tree, and the names of its tensors.

use std::path::Path;

use super::{ALLOWED, DEVICE, FIRST_CONSTANT, ONLY_TENSOR, SIZE, TensorView, tensor_view};
use crate::checkpoint::pickle::{Id, Node, Pickle};
use crate::error::{Error, Result};

/// Deepest nesting of containers.
const MAX_DEPTH: usize = 64;
/// Largest cost of a tree: 16 per value and the bytes of its texts. Shared values are copied, so a pickle
/// of a kilobyte could otherwise unfold without end.
const MAX_COST: usize = 32 << 20;

/// The content of a file of `torch.save`, without the tensors' elements.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are those of the Python types
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A tensor, by its name in the checkpoint: the keys that lead to it, joined by dots.
    Tensor(String),
}

impl Value {
    /// The value at a key of a dict.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dict(pairs) = self else {
            return None;
        };
        // The later of two values for a key counts, as in Python.
        let mut found = pairs.iter().rev();
        found
            .find(|(k, _)| matches!(k, Value::Str(k) if k == key))
            .map(|(_, value)| value)
    }

    /// A text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            Value::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// True or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }
}

/// Turns the values of a pickle, which refer to each other, into a tree that owns them.
pub(super) struct Tree<'a> {
    path: &'a Path,
    pickle: &'a Pickle,
    cost: usize,
    tensors: Vec<(String, TensorView)>,
}

impl<'a> Tree<'a> {
    /// The tree of what was pickled, and its tensors by name.
    pub(super) fn grow(
        path: &'a Path,
        pickle: &'a Pickle,
    ) -> Result<(Value, Vec<(String, TensorView)>)> {
        let mut tree = Tree {
            path,
            pickle,
            cost: 0,
            tensors: Vec::new(),
        };
        let value = tree.value(pickle.root(), "", 0)?;
        Ok((value, tree.tensors))
    }

    /// The value `id`, to which the keys joined in `name` lead.
    fn value(&mut self, id: Id, name: &str, depth: usize) -> Result<Value> {
        let node = self.pickle.node(id);
        let text = match node {
            Node::Str(text) => text.len(),
            Node::Call(..) => name.len(),
            _ => 0,
        };
        self.cost += 16 + text;
        if depth > MAX_DEPTH || self.cost > MAX_COST {
            return Err(self.error(name, "nested deeper or larger than any checkpoint"));
        }
        Ok(match node {
            Node::None => Value::None,
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Int(number) => Value::Int(*number),
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => Value::Str(text.clone()),
            Node::List(items) => Value::List(self.items(items, name, depth)?),
            Node::Tuple(items) => Value::Tuple(self.items(items, name, depth)?),
            Node::Dict(pairs) => Value::Dict(self.pairs(pairs, name, depth)?),
            Node::Call(SIZE, args) => match self.pickle.node(*args) {
                Node::Tuple(args) if args.len() == 1 => self.value(args[0], name, depth + 1)?,
                _ => return Err(self.error(name, "a malformed torch.Size")),
            },
            // A device says where a tensor was, which changes nothing here.
            Node::Call(DEVICE, args) => match self.pickle.node(*args) {
                Node::Tuple(args) if matches!(args.len(), 1 | 2) => {
                    self.value(args[0], name, depth + 1)?
                }
                _ => return Err(self.error(name, "a malformed torch.device")),
            },
            Node::Call(..) => {
                let name = if name.is_empty() { ONLY_TENSOR } else { name };
                let tensor_view = tensor_view(self.pickle, id)
                    .ok_or_else(|| self.error(name, "not described as torch describes a tensor"))?;
                self.tensors.push((name.to_owned(), tensor_view));
                Value::Tensor(name.to_owned())
            }
            Node::Global(place) if *place >= FIRST_CONSTANT => {
                Value::Str(ALLOWED[*place].to_owned())
            }
            Node::Global(place) => {
                let reason = format!("`{}` as a value", ALLOWED[*place]);
                return Err(self.error(name, &reason));
            }
            Node::Persistent(_) => return Err(self.error(name, "a storage without a tensor")),
        })
    }

    fn items(&mut self, items: &[Id], name: &str, depth: usize) -> Result<Vec<Value>> {
        let items = items.iter().enumerate();
        items
            .map(|(i, item)| {
                let name = self.joined(name, &i.to_string());
                self.value(*item, &name, depth + 1)
            })
            .collect()
    }

    fn pairs(
        &mut self,
        pairs: &[(Id, Id)],
        name: &str,
        depth: usize,
    ) -> Result<Vec<(Value, Value)>> {
        let mut values = Vec::new();
        for (key, value) in pairs {
            let key = self.value(*key, name, depth + 1)?;
            let name = match &key {
                Value::Str(key) => self.joined(name, key),
                Value::Int(key) => self.joined(name, &key.to_string()),
                // No tensor below such a key can be asked for; the key is named for errors only.
                other => self.joined(name, &format!("{other:?}")),
            };
            values.push((key, self.value(*value, &name, depth + 1)?));
        }
        Ok(values)
    }

    fn joined(&mut self, name: &str, key: &str) -> String {
        self.cost += name.len() + key.len();
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}.{key}")
        }
    }

    fn error(&self, name: &str, reason: &str) -> Error {
        if name.is_empty() {
            Error::format(self.path, reason)
        } else {
            Error::tensor(self.path, name, reason)
        }
    }
}
