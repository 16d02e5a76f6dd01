//! Numbers as bytes: variable-length integers, floats, compressed blobs. Readers trust nothing.

use saescope::{Error, Result};

/// Most bytes of a blob once it is decompressed: the largest, those of the index and of a large vocabulary, stay
/// below half of it.
const MAX_BLOB: usize = 1 << 26;
/// Compression of blobs: level 3 of zstd is its own default.
const LEVEL: i32 = 3;

/// Bytes that are written one number after another.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first, the top bit set on all but the last (LEB128).
    pub(crate) fn int(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn len(&mut self, len: usize) {
        self.int(len as u64);
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i128(&mut self, value: i128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// The bytes, compressed, after the number of them.
    pub(crate) fn compressed(self) -> Result<Vec<u8>> {
        let mut out = Writer::default();
        out.len(self.0.len());
        let packed = zstd::bulk::compress(&self.0, LEVEL);
        out.0
            .extend(packed.map_err(|error| corrupt(&format!("compression: {error}")))?);
        Ok(out.0)
    }
}

/// Bytes that are read one number after another.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn int(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("a number is too large"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.int()?).map_err(|_| corrupt("a number is too large"))
    }

    /// A number of things that take at least one byte each.
    pub(crate) fn len(&mut self) -> Result<usize> {
        let len = self.int()?;
        match usize::try_from(len) {
            Ok(len) if len <= self.0.len() => Ok(len),
            _ => Err(corrupt("it counts more than it holds")),
        }
    }

    pub(crate) fn f32(&mut self) -> Result<f32> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i128(&mut self) -> Result<i128> {
        Ok(i128::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }
}

/// What [`Writer::compressed`] compressed.
pub(crate) fn decompressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let len = reader.int()?;
    let len = usize::try_from(len).ok().filter(|&len| len <= MAX_BLOB);
    let len = len.ok_or_else(|| corrupt("it claims to be larger than 64 MiB"))?;
    let bytes = zstd::bulk::decompress(reader.0, len);
    let bytes = bytes.map_err(|_| corrupt("it cannot be decompressed"))?;
    if bytes.len() != len {
        return Err(corrupt("it has another length than it says"));
    }
    Ok(bytes)
}

/// The failure to read a blob.
pub(crate) fn corrupt(reason: &str) -> Error {
    Error::Argument(format!("a blob of the store is damaged: {reason}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(ints in prop::collection::vec(any::<u64>(), 0..50), float in any::<f32>(), big in any::<i128>()) {
            let mut writer = Writer::default();
            writer.len(ints.len());
            ints.iter().for_each(|&int| writer.int(int));
            writer.f32(float);
            writer.i128(big);
            let bytes = decompressed(&writer.compressed().unwrap()).unwrap();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.len().unwrap(), ints.len());
            for int in ints {
                prop_assert_eq!(reader.int().unwrap(), int);
            }
            prop_assert_eq!(reader.f32().unwrap().to_bits(), float.to_bits());
            prop_assert_eq!(reader.i128().unwrap(), big);
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.bytes().is_ok() && !reader.0.is_empty() {}
            let mut reader = Reader::new(&bytes);
            while reader.int().is_ok() {}
            decompressed(&bytes).ok();
        }
    }

    #[test]
    fn a_blob_that_claims_to_be_huge_is_refused_before_it_is_allocated() {
        let mut writer = Writer::default();
        writer.int(1 << 50);
        assert!(
            decompressed(&writer.0)
                .unwrap_err()
                .to_string()
                .contains("larger than 64 MiB")
        );
        let mut writer = Writer::default();
        writer.int(u64::MAX);
        assert!(Reader::new(&writer.0).len().is_err());
    }
}
