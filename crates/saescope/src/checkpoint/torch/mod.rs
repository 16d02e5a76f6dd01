//! Files of `torch.save`: the zip archive of PyTorch 1.6 and later, and the format before it.
//!
//! Both hold a pickle that describes tensors and, apart from it, the bytes of their storages. The pickle
//! is read by code that can only build tensors and plain containers.

mod value;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::cursor::Cursor;
use super::dtype::Dtype;
use super::pickle::{Id, Node, Pickle};
use super::tensor::{Entry, bytes_of};
use super::zip::Archive;
use super::{FileContent, Metadata};
use crate::error::{Error, Result};

use value::Tree;
pub use value::Value;

/// Name of a tensor that is the only content of a file.
pub const ONLY_TENSOR: &str = "tensor";

/// The names that a pickle may refer to. Functions come first, then storages in
/// the order of [`STORED`], then constants.
const ALLOWED: [&str; 29] = [
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "collections.OrderedDict",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.device",
    "torch.float64",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.int64",
    "torch.int32",
    "torch.int16",
    "torch.int8",
    "torch.uint8",
    "torch.bool",
    "torch.complex64",
    "torch.float8_e4m3fn",
    "torch.float8_e5m2",
];
/// A device, called with its name and perhaps a number.
const DEVICE: usize = 15;
/// The first of the names that are values by themselves: the types of elements.
const FIRST_CONSTANT: usize = 16;
const REBUILD_PARAMETER: usize = 2;
const SIZE: usize = 3;
const FIRST_STORAGE: usize = 5;
const STORED: [Dtype; 10] = [
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::Bf16,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U8,
    Dtype::Bool,
];

/// Largest number of elements of a view that repeats elements of its storage.
const MAX_REPEATED: usize = 1 << 24;

/// First bytes of the old format after the protocol: a pickle of its magic number.
const OLD_MAGIC: [u8; 13] = *b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A tensor as the pickle describes it.
struct TensorView {
    storage: Storage,
    /// Elements before the first.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The storage of a tensor as the pickle describes it.
struct Storage {
    dtype: Dtype,
    key: String,
    len: usize,
    /// Start and length of the part that the tensor sees, in the oldest files.
    view: Option<(usize, usize)>,
}

/// Reads an archive of `torch.save`.
pub(super) fn parse_zip(path: &Path, bytes: &[u8], archive: &Archive) -> Result<FileContent> {
    let mut roots = archive
        .names()
        .filter_map(|name| name.strip_suffix("data.pkl"));
    let root = match (roots.next(), roots.next()) {
        (Some(root), None) if root.is_empty() || root.ends_with('/') => root,
        _ => {
            return Err(Error::format(path, other_zip(archive)));
        }
    };
    if archive
        .names()
        .any(|name| name.starts_with(&format!("{root}code/")))
    {
        let reason =
            "a program of TorchScript; load it with `torch.jit.load` and save its `state_dict()`";
        return Err(Error::format(path, reason));
    }
    let find = |name: &str| archive.find(bytes, &format!("{root}{name}"));
    if let Ok(order) = find("byteorder")
        && bytes[order] != *b"little"
    {
        return Err(Error::format(path, "written on a big-endian machine"));
    }
    let pickle = find("data.pkl").map_err(|reason| Error::format(path, reason))?;
    let mut cursor = Cursor::new(path, &bytes[pickle]);
    let pickle = Pickle::read(path, &mut cursor, &ALLOWED)?;
    place(path, &pickle, |storage| {
        find(&format!("data/{}", storage.key))
    })
}

/// The reason for a zip archive without a pickle of `torch.save`.
fn other_zip(archive: &Archive) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<&str> = archive.names().collect();
    names.sort_unstable();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.truncate(SHOWN);
    let names = names.join(", ");
    format!(
        "a zip archive that torch.save did not write ({names}{more}); unpack it and name its files"
    )
}

/// True if `bytes` begin like a file of `torch.save` before PyTorch 1.6.
pub(super) fn begins_old(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x80) && bytes.get(2..15) == Some(&OLD_MAGIC)
}

/// Reads a file of `torch.save` before PyTorch 1.6: pickles of a magic number, a version, sizes of
/// C types, the object and the keys of its storages, then the storages in that order.
pub(super) fn parse_old(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(2 + OLD_MAGIC.len() as u64)?;
    Pickle::read(path, &mut cursor, &[])?;
    let system = Pickle::read(path, &mut cursor, &[])?;
    let (system, _) = Tree::grow(path, &system)?;
    if system.get("little_endian").and_then(Value::as_bool) != Some(true) {
        return Err(Error::format(path, "written on a big-endian machine"));
    }
    let pickle = Pickle::read(path, &mut cursor, &ALLOWED)?;
    let sizes = storage_sizes(path, &pickle)?;
    let keys = Pickle::read(path, &mut cursor, &[])?;
    let (Value::List(keys), _) = Tree::grow(path, &keys)? else {
        return Err(cursor.error("the keys of the storages are not a list"));
    };
    let mut places = HashMap::new();
    for key in keys {
        let known = key.as_str().and_then(|key| sizes.get_key_value(key));
        let Some((key, (dtype, len))) = known else {
            return Err(cursor.error(format!("no tensor describes the storage {key:?}")));
        };
        let stored = cursor.i64()?;
        if usize::try_from(stored) != Ok(*len) {
            return Err(cursor.error(format!(
                "storage `{key}` has {stored} elements here and {len} where it is described"
            )));
        }
        let size = bytes_of(*dtype, &[*len]).map_err(|reason| cursor.error(reason))?;
        let start = cursor.at();
        cursor.take(size as u64)?;
        places.insert(key.as_str(), start..start + size);
    }
    place(path, &pickle, |storage| {
        let found = places.get(storage.key.as_str()).cloned();
        found.ok_or_else(|| format!("there is no storage `{}`", storage.key))
    })
}

/// The error for a pickle that is not in a file of `torch.save`.
pub(super) fn refuse(path: &Path, bytes: &[u8]) -> Error {
    let mut cursor = Cursor::new(path, bytes);
    match Pickle::read(path, &mut cursor, &ALLOWED) {
        Err(error) => error,
        Ok(_) => Error::format(path, "a pickle that torch.save did not write"),
    }
}

/// Finds every tensor of a pickle; `find` gives the place of a storage in the file.
fn place(
    path: &Path,
    pickle: &Pickle,
    find: impl Fn(&Storage) -> Result<Range<usize>, String>,
) -> Result<FileContent> {
    let (value, tensor_view) = Tree::grow(path, pickle)?;
    let tensors = tensor_view.into_iter().map(|(name, tensor)| {
        let entry = find(&tensor.storage).and_then(|storage| tensor.place(storage));
        match entry {
            Ok(entry) => Ok((name, entry)),
            Err(reason) => Err(Error::tensor(path, &name, reason)),
        }
    });
    Ok(FileContent {
        tensors: tensors.collect::<Result<_>>()?,
        metadata: Metadata::Torch(value),
    })
}

/// The type and number of elements of every storage that a pickle names, by key.
fn storage_sizes(path: &Path, pickle: &Pickle) -> Result<HashMap<String, (Dtype, usize)>> {
    let mut sizes = HashMap::new();
    for id in pickle.ids() {
        if let Node::Persistent(key) = pickle.node(id) {
            let storage = storage(pickle, *key)
                .ok_or_else(|| Error::format(path, "a storage that is not described as one"))?;
            let size = (storage.dtype, storage.len);
            if *sizes.entry(storage.key.clone()).or_insert(size) != size {
                let reason = format!("storage `{}` is described in two ways", storage.key);
                return Err(Error::format(path, reason));
            }
        }
    }
    Ok(sizes)
}

impl TensorView {
    /// The tensor in its file, in which its storage takes the bytes `storage`.
    ///
    /// # Errors
    /// The reason why it cannot be there.
    fn place(self, storage: Range<usize>) -> Result<Entry, String> {
        let Storage {
            dtype, len, view, ..
        } = self.storage;
        let size = dtype.block_bytes();
        if len.checked_mul(size).is_none_or(|n| n > storage.len()) {
            return Err(format!(
                "its storage of {len} {dtype} elements has only {} bytes",
                storage.len()
            ));
        }
        let (view_start, view_len) = view.unwrap_or((0, len));
        let outside = || {
            format!(
                "shape {:?} with strides {:?} from element {} leaves its storage of {view_len}",
                self.shape, self.strides, self.offset
            )
        };
        if view_start.checked_add(view_len).is_none_or(|end| end > len) {
            return Err(outside());
        }
        bytes_of(dtype, &self.shape)?;
        let elements: usize = self.shape.iter().product();
        if elements > len.max(MAX_REPEATED) {
            return Err(format!("{elements} elements, out of a storage of {len}"));
        }
        if elements == 0 {
            return Entry::row_major(dtype, self.shape, storage.start, storage.end);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let reach = steps.clone().try_fold(0usize, |reach, (&d, &stride)| {
            reach.checked_add(stride.checked_mul(d - 1)?)
        });
        let last = reach.and_then(|reach| reach.checked_add(self.offset));
        let Some(reach) = reach.filter(|_| last.is_some_and(|last| last < view_len)) else {
            return Err(outside());
        };
        let start = storage.start + (view_start + self.offset) * size;
        let mut step = 1;
        let row_major = steps.rev().all(|(&d, &stride)| {
            let fits = d == 1 || stride == step;
            step *= d;
            fits
        });
        if row_major {
            return Entry::row_major(dtype, self.shape, start, storage.end);
        }
        Ok(Entry {
            dtype,
            shape: self.shape,
            start,
            span: (reach + 1) * size,
            strides: Some(self.strides),
        })
    }
}

/// The tensor that the call `id` builds.
fn tensor_view(pickle: &Pickle, id: Id) -> Option<TensorView> {
    let mut id = id;
    // A parameter wraps a tensor; no writer wraps twice.
    for _ in 0..2 {
        let Node::Call(function, args) = pickle.node(id) else {
            return None;
        };
        if *function > REBUILD_PARAMETER {
            return None;
        }
        let args = items(pickle, *args)?;
        if *function == REBUILD_PARAMETER {
            id = *args.first()?;
            continue;
        }
        let [key, offset, shape, strides, ..] = args else {
            return None;
        };
        let Node::Persistent(key) = pickle.node(*key) else {
            return None;
        };
        let tensor_view = TensorView {
            storage: storage(pickle, *key)?,
            offset: size(pickle, *offset)?,
            shape: sizes(pickle, *shape)?,
            strides: sizes(pickle, *strides)?,
        };
        let ranks_agree = tensor_view.shape.len() == tensor_view.strides.len();
        return ranks_agree.then_some(tensor_view);
    }
    None
}

/// The storage that `("storage", type, key, device, length)` describes; in the oldest files a sixth item
/// gives the part that the tensor sees.
fn storage(pickle: &Pickle, key: Id) -> Option<Storage> {
    let [tag, kind, key, _device, len, rest @ ..] = items(pickle, key)? else {
        return None;
    };
    let (Node::Str(tag), Node::Global(kind), Node::Str(key)) =
        (pickle.node(*tag), pickle.node(*kind), pickle.node(*key))
    else {
        return None;
    };
    let view = match rest {
        [] => None,
        [view] => match pickle.node(*view) {
            Node::None => None,
            _ => match items(pickle, *view)? {
                [_key, offset, len] => Some((size(pickle, *offset)?, size(pickle, *len)?)),
                _ => return None,
            },
        },
        _ => return None,
    };
    let kind = kind.checked_sub(FIRST_STORAGE)?;
    (tag == "storage").then_some(Storage {
        dtype: *STORED.get(kind)?,
        key: key.clone(),
        len: size(pickle, *len)?,
        view,
    })
}

fn items(pickle: &Pickle, id: Id) -> Option<&[Id]> {
    match pickle.node(id) {
        Node::Tuple(items) => Some(items),
        Node::Call(SIZE, args) => match pickle.node(*args) {
            Node::Tuple(args) if args.len() == 1 => match pickle.node(args[0]) {
                Node::Tuple(items) => Some(items),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn sizes(pickle: &Pickle, id: Id) -> Option<Vec<usize>> {
    items(pickle, id)?
        .iter()
        .map(|id| size(pickle, *id))
        .collect()
}

fn size(pickle: &Pickle, id: Id) -> Option<usize> {
    match pickle.node(id) {
        Node::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}
