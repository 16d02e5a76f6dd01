//! Dates in the formats that chat templates ask for.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// Formats the time `seconds` after the beginning of 1970, in UTC.
pub(super) fn format(format: &str, seconds: u64) -> Result<String, String> {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let month_name = MONTHS[month - 1];
    let day_name = DAYS[(days % 7) as usize]; // 1970 began on a Thursday
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let part = match chars.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('d') => format!("{day:02}"),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => format!("{:02}", time / 3600),
            Some('M') => format!("{:02}", time / 60 % 60),
            Some('S') => format!("{:02}", time % 60),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("strftime_now does not know `%{other}`")),
            None => return Err("strftime_now: a `%` at the end".to_owned()),
        };
        text.push_str(&part);
    }
    Ok(text)
}

/// Year, month and day of the month, `days` after the beginning of 1970.
fn date(days: u64) -> (u64, usize, u64) {
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    // Whole cycles of 400 years are skipped first, so that no clock makes the loop long.
    let mut year = 1970 + days / 146_097 * 400;
    let mut rest = days % 146_097;
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month + 1, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_come_out_right() {
        let all = "%A %a %d %B %b %Y %y %m %H:%M:%S %F %%";
        assert_eq!(
            format(all, 0).unwrap(),
            "Thursday Thu 01 January Jan 1970 70 01 00:00:00 1970-01-01 %"
        );
        // A leap day, a moment before midnight.
        assert_eq!(
            format(all, 1_709_251_199).unwrap(),
            "Thursday Thu 29 February Feb 2024 24 02 23:59:59 2024-02-29 %"
        );
        assert_eq!(format("%F", 4_107_542_400).unwrap(), "2100-03-01");
        assert_eq!(format("%F", 13_574_563_200).unwrap(), "2400-02-29");
        assert!(format("%q", 0).is_err());
        assert!(format("%", 0).is_err());
        assert!(format("%Y", u64::MAX).is_ok());
    }
}
