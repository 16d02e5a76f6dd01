//! Parsers of values that flags share.

use std::fmt::Display;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A number of tokens, such as 4096, 300k or 3M; a thousand is 1,000 and a million 1,000,000.
pub(crate) fn tokens(text: &str) -> Result<u64, String> {
    let (digits, times) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let number = match times {
        1.0 => digits.parse::<u64>().ok(),
        times => digits
            .parse::<f64>()
            .ok()
            .filter(|number| (0.0..1e12).contains(number))
            .map(|number| (number * times).round() as u64),
    };
    let number = number.filter(|&number| number > 0);
    number.ok_or_else(|| "write a number of tokens such as 4096, 300k or 3M".to_owned())
}

/// A value of the library that parses itself, one of `names`, which help lists.
pub(crate) fn one_of<T>(
    names: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names)
        .try_map(|name| name.parse::<T>().map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn numbers_of_tokens_may_end_in_k_or_m() {
        assert_eq!(tokens("4096"), Ok(4096));
        assert_eq!(tokens("300k"), Ok(300_000));
        assert_eq!(tokens("1.5M"), Ok(1_500_000));
        for wrong in ["", "k", "0", "-3k", "3 M", "1.5", "nanM", "3G"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }
}
