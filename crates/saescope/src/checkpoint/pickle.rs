//! A reader of pickles that builds plain values and can do nothing else.
//!
//! It knows the opcodes of lists, dicts, numbers and texts, and the names that its caller allows. It calls
//! none of them: a call is kept as data for the reader of the format. Values are made once each and
//! refer to each other by number, so a pickle cannot make more values than it has bytes, and no cycle
//! can be followed by accident.

use std::collections::HashMap;
use std::path::Path;

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// Most bytes of one pickle. A state dict takes some hundred per tensor.
const MAX_BYTES: usize = 16 << 20;
/// Most values on the stack and most opened marks.
const MAX_STACK: usize = 1 << 20;
/// Most values in all; each takes several times the one byte that it may be written with.
const MAX_NODES: usize = 1 << 21;

const ORDERED_DICT: &str = "collections.OrderedDict";

/// A value, by its place among [`Pickle::nodes`].
pub(super) type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// One of the names that were allowed, by its place among them.
    Global(usize),
    /// A call of an allowed name with a tuple of arguments.
    Call(usize, Id),
    /// Something kept outside the pickle, by its key.
    Persistent(Id),
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle off `cursor`. `allowed` are the names, as `module.name`, that it may refer to.
    pub(super) fn read(path: &Path, cursor: &mut Cursor, allowed: &[&str]) -> Result<Pickle> {
        let mut machine = Machine {
            path,
            allowed,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let start = cursor.at();
        loop {
            if cursor.at() - start > MAX_BYTES {
                return Err(cursor.error(format!("a pickle of more than {MAX_BYTES} bytes")));
            }
            let opcode = cursor.u8()?;
            if opcode == b'.' {
                let root = machine.pop(cursor)?;
                return Ok(Pickle {
                    nodes: machine.nodes,
                    root,
                });
            }
            machine.step(opcode, cursor)?;
            if machine.nodes.len() > MAX_NODES || machine.stack.len() > MAX_STACK {
                return Err(cursor.error("a pickle of too many values"));
            }
        }
    }

    /// The value that was pickled.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// Every value of the pickle, also those that its root does not refer to.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        0..self.nodes.len() as Id
    }

    /// The value `id`.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

/// The next step for a pickle that refers to `global`; `rest` follows in the file.
fn advice(global: &str, rest: &[u8]) -> &'static str {
    let rest = &rest[..rest.len().min(MAX_BYTES)];
    let has = |name: &[u8]| rest.windows(name.len()).any(|window| window == name);
    if has(b"_parameters") && has(b"_modules") {
        "it is a whole module; load it where its class is, and save its weights alone: \
         `torch.save(module.state_dict(), ...)`"
    } else if global.starts_with("numpy") {
        "it holds arrays of numpy; save them as tensors (`torch.from_numpy`) or with `numpy.save`"
    } else {
        "save the tensors in plain dicts, such as a `state_dict()`, if you trust the file"
    }
}

struct Machine<'a> {
    path: &'a Path,
    allowed: &'a [&'a str],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Opcodes are those of CPython's `pickletools`, up to protocol 4.
    fn step(&mut self, opcode: u8, cursor: &mut Cursor) -> Result<()> {
        match opcode {
            // PROTO, FRAME: nothing depends on them.
            0x80 | 0x95 => {
                cursor.take(if opcode == 0x80 { 1 } else { 8 })?;
            }
            // MARK, POP, POP_MARK, DUP
            b'(' => self.mark(cursor)?,
            b'0' => {
                self.pop(cursor)?;
            }
            b'1' => {
                self.pop_mark(cursor)?;
            }
            b'2' => {
                let top = self.top(cursor)?;
                self.stack.push(top);
            }
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | 0x8a | b'G' => {
                let node = number(opcode, cursor)?;
                self.push(node);
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; SHORT_BINSTRING, BINSTRING of Python 2
            b'X' | 0x8c | 0x8d | b'U' | b'T' => {
                let node = Node::Str(text(opcode, cursor)?);
                self.push(node);
            }
            b']' | b')' | b'}' | b't' | 0x85..=0x87 | b'l' | b'd' => self.make(opcode, cursor)?,
            b'a' | b'e' | b's' | b'u' => self.extend(opcode, cursor)?,
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' | b'r' | 0x94 => {
                let key = match opcode {
                    b'q' => cursor.u8()?.into(),
                    b'r' => cursor.u32()?,
                    _ => self.memo.len() as u32,
                };
                let top = self.top(cursor)?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = match opcode {
                    b'h' => cursor.u8()?.into(),
                    _ => cursor.u32()?,
                };
                let known = self.memo.get(&key).copied();
                let known = known.ok_or_else(|| cursor.error(format!("no memo {key}")))?;
                self.stack.push(known);
            }
            b'c' | 0x93 | b'Q' | b'R' | b'b' => self.refer(opcode, cursor)?,
            // NEWOBJ, NEWOBJ_EX, INST, OBJ would make objects; torch writes no other opcode.
            other => {
                return Err(cursor.error(format!("pickle opcode {other:#04x} is not read here")));
            }
        }
        Ok(())
    }

    /// EMPTY_LIST, EMPTY_TUPLE, EMPTY_DICT, TUPLE, TUPLE1 to TUPLE3, LIST, DICT.
    fn make(&mut self, opcode: u8, cursor: &Cursor) -> Result<()> {
        let node = match opcode {
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b't' => Node::Tuple(self.pop_mark(cursor)?),
            b'l' => Node::List(self.pop_mark(cursor)?),
            b'd' => Node::Dict(pairs(&self.pop_mark(cursor)?, cursor)?),
            _ => {
                let len = usize::from(opcode - 0x84);
                let mut items = Vec::with_capacity(len);
                for _ in 0..len {
                    items.push(self.pop(cursor)?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        };
        self.push(node);
        Ok(())
    }

    /// APPEND, APPENDS, SETITEM, SETITEMS.
    fn extend(&mut self, opcode: u8, cursor: &Cursor) -> Result<()> {
        let items = match opcode {
            b'a' => vec![self.pop(cursor)?],
            b's' => {
                let value = self.pop(cursor)?;
                vec![self.pop(cursor)?, value]
            }
            _ => self.pop_mark(cursor)?,
        };
        let top = self.top(cursor)?;
        match (&mut self.nodes[top as usize], opcode) {
            (Node::List(list), b'a' | b'e') => list.extend(items),
            (Node::Dict(dict), b's' | b'u') => dict.extend(pairs(&items, cursor)?),
            _ => {
                return Err(
                    cursor.error("items are added to a value that is neither a list nor a dict")
                );
            }
        }
        Ok(())
    }

    /// GLOBAL, STACK_GLOBAL, BINPERSID, REDUCE, BUILD.
    fn refer(&mut self, opcode: u8, cursor: &mut Cursor) -> Result<()> {
        match opcode {
            b'c' => {
                let module = String::from_utf8_lossy(cursor.line()?);
                let name = String::from_utf8_lossy(cursor.line()?);
                self.global(&module, &name, cursor)
            }
            0x93 => {
                let (name, module) = (self.pop(cursor)?, self.pop(cursor)?);
                let [Node::Str(name), Node::Str(module)] =
                    [name, module].map(|id| &self.nodes[id as usize])
                else {
                    return Err(cursor.error("a global whose name is not a text"));
                };
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name, cursor)
            }
            b'Q' => {
                let key = self.pop(cursor)?;
                self.push(Node::Persistent(key));
                Ok(())
            }
            b'R' => {
                let (args, function) = (self.pop(cursor)?, self.pop(cursor)?);
                self.call(function, args, cursor)
            }
            _ => {
                // The state of an object. torch sets `_metadata` on an OrderedDict: versions of modules,
                // which no reader needs.
                self.pop(cursor)?;
                let top = self.top(cursor)?;
                match self.nodes[top as usize] {
                    Node::Dict(_) => Ok(()),
                    _ => Err(cursor.error("state is set on a value that is not a dict")),
                }
            }
        }
    }

    fn global(&mut self, module: &str, name: &str, cursor: &Cursor) -> Result<()> {
        let full = format!("{module}.{name}");
        match self.allowed.iter().position(|allowed| *allowed == full) {
            Some(place) => {
                self.push(Node::Global(place));
                Ok(())
            }
            None => Err(Error::Pickle {
                path: self.path.to_path_buf(),
                advice: advice(&full, cursor.rest()),
                global: full,
            }),
        }
    }

    fn call(&mut self, function: Id, args: Id, cursor: &Cursor) -> Result<()> {
        let Node::Global(place) = self.nodes[function as usize] else {
            return Err(cursor.error("a call of a value that is not a function"));
        };
        let Node::Tuple(items) = &self.nodes[args as usize] else {
            return Err(cursor.error("a call whose arguments are not a tuple"));
        };
        let node = if self.allowed[place] == ORDERED_DICT {
            match items.as_slice() {
                [] => Node::Dict(Vec::new()),
                [list] => Node::Dict(self.listed_pairs(*list, cursor)?),
                _ => return Err(cursor.error("an OrderedDict of several arguments")),
            }
        } else {
            Node::Call(place, args)
        };
        self.push(node);
        Ok(())
    }

    /// The pairs of a list of pairs, the form of an OrderedDict in Python 2.
    fn listed_pairs(&self, list: Id, cursor: &Cursor) -> Result<Vec<(Id, Id)>> {
        let no_pairs = || cursor.error("an OrderedDict of a value that is not a list of pairs");
        let Node::List(list) = &self.nodes[list as usize] else {
            return Err(no_pairs());
        };
        let pair = |id: &Id| match &self.nodes[*id as usize] {
            Node::List(pair) | Node::Tuple(pair) => match pair.as_slice() {
                [key, value] => Ok((*key, *value)),
                _ => Err(no_pairs()),
            },
            _ => Err(no_pairs()),
        };
        list.iter().map(pair).collect()
    }

    fn push(&mut self, node: Node) {
        // The number is below `MAX_NODES`, which is checked after every opcode.
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
    }

    /// The value on top of the stack, which stays there. Values below the last mark are out of reach.
    fn top(&self, cursor: &Cursor) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(top) if self.stack.len() > floor => Ok(*top),
            _ => Err(cursor.error("a pickle that takes a value from an empty stack")),
        }
    }

    fn pop(&mut self, cursor: &Cursor) -> Result<Id> {
        let top = self.top(cursor)?;
        self.stack.pop();
        Ok(top)
    }

    fn mark(&mut self, cursor: &Cursor) -> Result<()> {
        if self.marks.len() >= MAX_STACK {
            return Err(cursor.error("a pickle of too many marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Takes the last mark and the values above it off the stack.
    fn pop_mark(&mut self, cursor: &Cursor) -> Result<Vec<Id>> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| cursor.error("a pickle without the mark it needs"))?;
        Ok(self.stack.split_off(mark))
    }
}

fn pairs(items: &[Id], cursor: &Cursor) -> Result<Vec<(Id, Id)>> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(cursor.error("a dict with a key and no value")),
    }
}

/// NONE, NEWTRUE, NEWFALSE, INT, BININT, BININT1, BININT2, LONG1, BINFLOAT.
fn number(opcode: u8, cursor: &mut Cursor) -> Result<Node> {
    Ok(match opcode {
        b'N' => Node::None,
        0x88 => Node::Bool(true),
        0x89 => Node::Bool(false),
        b'I' => match cursor.line()? {
            b"00" => Node::Bool(false),
            b"01" => Node::Bool(true),
            digits => {
                let number = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|s| s.parse().ok());
                Node::Int(number.ok_or_else(|| cursor.error("a malformed number"))?)
            }
        },
        b'J' => Node::Int(cursor.i32()?.into()),
        b'K' => Node::Int(cursor.u8()?.into()),
        b'M' => Node::Int(cursor.u16()?.into()),
        0x8a => {
            let len = cursor.u8()?;
            let bytes = cursor.take(len.into())?;
            if bytes.len() > 8 {
                return Err(cursor.error("a whole number of more than 64 bits"));
            }
            // Two's complement of as few bytes as the number needs.
            let sign = bytes
                .last()
                .map_or(0, |b| if b & 0x80 != 0 { 0xff } else { 0 });
            let mut wide = [sign; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        }
        _ => Node::Float(f64::from_be_bytes(cursor.array()?)),
    })
}

fn text(opcode: u8, cursor: &mut Cursor) -> Result<String> {
    let len = match opcode {
        b'X' | b'T' => cursor.u32()?.into(),
        0x8d => cursor.u64()?,
        _ => cursor.u8()?.into(),
    };
    let bytes = cursor.take(len)?;
    if bytes.len() > MAX_BYTES {
        return Err(cursor.error(format!("a pickle of more than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes);
    Ok(text
        .map_err(|e| cursor.error(format!("a text: {e}")))?
        .to_owned())
}
