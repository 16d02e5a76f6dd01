//! Calls that make no sense, found when they are already parsed.

use std::error::Error;
use std::fmt;

/// What is wrong with a call; the process ends as it does where parsing fails.
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

/// Returns with a [`Usage`] where a condition does not hold.
macro_rules! ensure_usage {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            $crate::usage::usage!($($message)*);
        }
    };
}
pub(crate) use ensure_usage;
