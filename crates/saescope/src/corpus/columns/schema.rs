//! The schema of a Parquet file, checked before the decoder goes through it by recursion, with as much memory
//! as each level claims.

use super::thrift::{LIST, NUMBER, STRUCT, Thrift};

/// Most levels of a schema.
const MAX_DEPTH: usize = 64;

/// Refuses a file whose schema is too deep, or claims more fields than it has.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let len = bytes.len() - 8;
    let stated = bytes[len..]
        .first_chunk()
        .map_or(0, |len| u32::from_le_bytes(*len)) as usize;
    let start = len
        .checked_sub(stated)
        .ok_or("its metadata is longer than the file")?;
    let children = children(&bytes[start..len]).ok_or("its metadata is broken")?;
    // Fields that each open level still has to come.
    let mut open: Vec<u64> = Vec::new();
    let mut left = children.len() as u64;
    for count in children {
        left -= 1;
        if count > left {
            return Err("its schema claims more fields than it has".to_owned());
        }
        if let Some(fields) = open.last_mut() {
            *fields = fields.saturating_sub(1);
        }
        open.push(count);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MAX_DEPTH {
            return Err(format!("its schema has more than {MAX_DEPTH} levels"));
        }
    }
    Ok(())
}

/// The number of fields within each element of the schema, in the order of the file.
fn children(metadata: &[u8]) -> Option<Vec<u64>> {
    let mut thrift = Thrift { bytes: metadata };
    let mut field = 0;
    loop {
        let kind;
        (field, kind) = thrift.field(field)?;
        match (field, kind) {
            (_, 0) => return None,
            (2, LIST) => break,
            (_, kind) => thrift.skip(kind)?,
        }
    }
    let (len, kind) = thrift.list()?;
    if kind != STRUCT {
        return None;
    }
    let mut children = Vec::new();
    for _ in 0..len {
        let (mut field, mut count) = (0, 0);
        loop {
            let kind;
            (field, kind) = thrift.field(field)?;
            match (field, kind) {
                (_, 0) => break,
                (5, NUMBER) => count = thrift.natural()?,
                (_, kind) => thrift.skip(kind)?,
            }
        }
        children.push(count);
    }
    Some(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file without rows whose schema is `depth` groups within each other, each of `fields` fields.
    fn nested(depth: usize, fields: u8) -> Vec<u8> {
        // The version, and a list of structs with its length in three bytes.
        let mut metadata = vec![0x15, 2, 0x19, 0xfc];
        let len = depth + 1;
        metadata.extend([len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]);
        for _ in 0..depth {
            metadata.extend([0x35, 0, 0x18, 1, b'a', 0x15, 2 * fields, 0]);
        }
        metadata.extend([0x15, 12, 0x25, 0, 0x18, 1, b'a', 0]);
        // No rows, and no groups of them.
        metadata.extend([0x16, 0, 0x19, 0x0c, 0]);
        let len = (metadata.len() as u32).to_le_bytes();
        [b"PAR1", &metadata[..], &len, b"PAR1"].concat()
    }

    #[test]
    fn a_schema_that_would_fill_the_stack_or_the_memory_is_refused() {
        assert_eq!(check(&nested(60, 1)), Ok(()));
        assert!(
            check(&nested(200_000, 1))
                .unwrap_err()
                .contains("64 levels")
        );
        assert!(check(&nested(3, 60)).unwrap_err().contains("more fields"));
        let cut = nested(3, 1);
        assert!(check(&cut[14..]).is_err());
    }
}
