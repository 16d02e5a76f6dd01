//! Wrong usage that only a command can find, after parsing.

use std::error::Error;
use std::fmt;

/// A fault of the arguments; the process ends as after a failed parse.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// Returns with a [`Usage`], as `bail!` does with any error.
macro_rules! usage {
    ($($message:tt)*) => {
        return Err($crate::usage::Usage(format!($($message)*)).into())
    };
}
pub(crate) use usage;

/// Returns with a [`Usage`] if a condition does not hold.
macro_rules! ensure_usage {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            $crate::usage::usage!($($message)*);
        }
    };
}
pub(crate) use ensure_usage;
