//! What every target does with the bytes it is given.

use std::path::Path;

use saescope::checkpoint::Checkpoint;

/// Opens `bytes` as a file called `name` and reads all of it.
pub fn read_all(name: &str, bytes: Vec<u8>) {
    let len = bytes.len() as u64;
    let checkpoint = match Checkpoint::from_bytes(Path::new(name), bytes) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            assert!(error.to_string().starts_with(name), "{error}");
            return;
        }
    };
    // Views may share their storage, but no tensor is larger than the file.
    for tensor in checkpoint.tensors() {
        assert!(tensor.bytes().is_none_or(|bytes| bytes.len() as u64 <= len));
        if tensor.len() <= 1 << 16 {
            let values = tensor
                .to_vec()
                .expect("a tensor that was opened can be read");
            let _ = tensor.check_finite(&values, 0);
            let _ = tensor.to_i64();
        }
    }
}
