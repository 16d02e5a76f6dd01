//! Numbers as people read them.

/// A share as a percentage: `12.3%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A share as a whole percentage: `12%`.
pub fn whole_percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A count and its share of all: `12 (3.4%)`.
pub fn count_of(count: usize, all: usize) -> String {
    format!("{count} ({})", percent(count as f64 / all as f64))
}

/// A number of bytes: `1.2 kB`, `3.2 MB`, `320 MB`, `32.0 GB`.
pub fn bytes(bytes: u64) -> String {
    let mb = bytes as f64 / 1e6;
    match mb {
        mb if mb >= 1e4 => format!("{:.1} GB", mb / 1e3),
        mb if mb >= 100.0 => format!("{mb:.0} MB"),
        mb if mb >= 0.1 => format!("{mb:.1} MB"),
        mb => format!("{:.1} kB", mb * 1e3),
    }
}

/// A number of seconds: `7 s`, `1 min 07 s`, `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// A number with four significant digits, whatever its size: `0.001235`, `12.35`, `1.000e-9`.
pub fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e5).contains(&size) => {
            let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.3e}"),
    }
}

/// A number with at most three digits: `0.03`, `12.3`, `123`, `1.2e5`.
pub fn brief(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e5 => format!("{value:.1e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// A number in few characters, with a unit and without trailing zeros: `1.5M`, `20k`, `0.03`, `1e-5`.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, unit) = match magnitude {
        m if m >= 1e12 || (m > 0.0 && m < 1e-3) => {
            return format!("{value:.1e}").replace(".0e", "e");
        }
        m if m >= 1e9 => (value / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        m if m >= 100.0 => 0,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    let mut text = format!("{scaled:.digits$}");
    if text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    if text == "-0" {
        text = "0".to_owned();
    }
    text + unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_units_and_no_trailing_zeros() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.03, "0.03"),
            (1e-5, "1e-5"),
            (5.25, "5.25"),
            (1500.0, "1500"),
            (20_000.0, "20k"),
            (1_500_000.0, "1.5M"),
            (-2.5, "-2.5"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected, "{value}");
        }
    }

    #[test]
    fn significant_numbers_have_four_digits() {
        let shown = [0.0, 0.00123456, 0.5, 12.3456, 12345.6, 1e-9].map(significant);
        let expected = ["0", "0.001235", "0.5000", "12.35", "12346", "1.000e-9"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn percentages_have_no_blank() {
        let shown = [0.0, 0.0012, 0.123, 1.0].map(percent);
        assert_eq!(shown, ["0.0%", "0.1%", "12.3%", "100.0%"]);
        assert_eq!(whole_percent(0.127), "13%");
        assert_eq!(count_of(12, 360), "12 (3.3%)");
    }

    #[test]
    fn durations_have_the_two_largest_units() {
        let shown = [7.4, 67.0, 3725.0].map(duration);
        assert_eq!(shown, ["7 s", "1 min 07 s", "1 h 02 min"]);
    }
}
