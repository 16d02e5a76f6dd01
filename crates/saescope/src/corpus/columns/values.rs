//! Values of columns as JSON has them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use serde_json::{Map, Number, Value};

use super::super::open::{MAX_DOCUMENT, too_long};

/// Refuses the types that are neither text nor numbers, nor lists or objects of them.
pub(super) fn check(kind: &DataType) -> Result<(), String> {
    use DataType as T;
    match kind {
        T::Null | T::Boolean | T::Utf8 | T::LargeUtf8 | T::Utf8View => Ok(()),
        T::Binary | T::LargeBinary | T::BinaryView => Ok(()),
        T::Float16 => Ok(()),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => check(item.data_type()),
        // A field is checked when it is read: others may be of any type.
        T::Struct(_) => Ok(()),
        T::Dictionary(_, values) => check(values),
        kind if kind.is_integer() || kind.is_floating() => Ok(()),
        kind => Err(format!(
            "it holds {kind}, which is neither text nor numbers"
        )),
    }
}

/// The value of a row at a place within a column.
pub(super) fn at(array: &dyn Array, row: usize, path: &[String]) -> Result<Value, String> {
    let Some((name, rest)) = path.split_first() else {
        return value(array, row);
    };
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    if let Some(object) = array.as_struct_opt() {
        let column = object.column_by_name(name).ok_or("it is missing")?;
        return at(column, row, rest);
    }
    let items = items(array, row).ok_or("it is neither an object nor a list")?;
    let item = name.parse().ok().filter(|item| *item < items.len());
    match item {
        Some(item) => at(&items, item, rest),
        None => Err(format!(
            "there is no item `{name}`: the list has {}, from 0",
            items.len()
        )),
    }
}

/// The items of a list.
fn items(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Some(list.value(row));
    }
    if let Some(list) = array.as_list_opt::<i64>() {
        return Some(list.value(row));
    }
    array.as_fixed_size_list_opt().map(|list| list.value(row))
}

/// A value of a column.
fn value(array: &dyn Array, row: usize) -> Result<Value, String> {
    use DataType as T;
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! whole {
        ($kind:ty) => {
            Value::from(array.as_primitive::<$kind>().value(row))
        };
    }
    Ok(match array.data_type() {
        T::Null => Value::Null,
        T::Boolean => Value::Bool(array.as_boolean().value(row)),
        T::Int8 => whole!(Int8Type),
        T::Int16 => whole!(Int16Type),
        T::Int32 => whole!(Int32Type),
        T::Int64 => whole!(Int64Type),
        T::UInt8 => whole!(UInt8Type),
        T::UInt16 => whole!(UInt16Type),
        T::UInt32 => whole!(UInt32Type),
        T::UInt64 => whole!(UInt64Type),
        T::Float16 => float(&array.as_primitive::<Float16Type>().value(row).to_string()),
        T::Float32 => float(&array.as_primitive::<Float32Type>().value(row).to_string()),
        T::Float64 => float(&array.as_primitive::<Float64Type>().value(row).to_string()),
        T::Utf8 => text(array.as_string::<i32>().value(row))?,
        T::LargeUtf8 => text(array.as_string::<i64>().value(row))?,
        T::Utf8View => text(array.as_string_view().value(row))?,
        T::Binary => bytes(array.as_binary::<i32>().value(row))?,
        T::LargeBinary => bytes(array.as_binary::<i64>().value(row))?,
        T::BinaryView => bytes(array.as_binary_view().value(row))?,
        T::List(_) | T::LargeList(_) | T::FixedSizeList(..) => {
            let items = items(array, row).ok_or("it is not a list")?;
            if items.len() > MAX_DOCUMENT {
                return Err(too_long("list"));
            }
            let items = (0..items.len()).map(|item| value(&items, item));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        T::Struct(_) => {
            let object = array.as_struct();
            let mut map = Map::new();
            for (name, column) in object.column_names().into_iter().zip(object.columns()) {
                map.insert(name.to_owned(), value(column, row)?);
            }
            Value::Object(map)
        }
        T::Dictionary(..) => dictionary(array, row)?,
        kind => {
            return Err(format!(
                "it holds {kind}, which is neither text nor numbers"
            ));
        }
    })
}

/// A number as it is printed; one that JSON cannot hold is null or a text, as it is where JSON is read.
fn float(printed: &str) -> Value {
    match printed {
        "NaN" => Value::Null,
        "inf" => Value::from("Infinity"),
        "-inf" => Value::from("-Infinity"),
        _ => {
            let number = printed.parse().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
    }
}

fn text(text: &str) -> Result<Value, String> {
    if text.len() > MAX_DOCUMENT {
        return Err(too_long("text"));
    }
    Ok(Value::from(text))
}

fn bytes(bytes: &[u8]) -> Result<Value, String> {
    text(std::str::from_utf8(bytes).map_err(|_| "its value is not UTF-8")?)
}

fn dictionary(array: &dyn Array, row: usize) -> Result<Value, String> {
    fn of<K: ArrowDictionaryKeyType>(
        array: &dyn Array,
        row: usize,
    ) -> Option<Result<Value, String>> {
        let dictionary = array.as_dictionary_opt::<K>()?;
        Some(match dictionary.key(row) {
            Some(key) if key < dictionary.values().len() => value(dictionary.values(), key),
            _ => Ok(Value::Null),
        })
    }
    None.or_else(|| of::<Int8Type>(array, row))
        .or_else(|| of::<Int16Type>(array, row))
        .or_else(|| of::<Int32Type>(array, row))
        .or_else(|| of::<Int64Type>(array, row))
        .or_else(|| of::<UInt8Type>(array, row))
        .or_else(|| of::<UInt16Type>(array, row))
        .or_else(|| of::<UInt32Type>(array, row))
        .or_else(|| of::<UInt64Type>(array, row))
        .unwrap_or_else(|| Err("its dictionary has keys of an unknown type".to_owned()))
}

/// Bytes that a value stands for.
pub(super) fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => 1 + text.len() as u64,
        Value::Array(items) => 1 + items.iter().map(size).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<u64>(),
        _ => 1,
    }
}
