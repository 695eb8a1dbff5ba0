//! The time of a line as RFC 3339 text with milliseconds, worked out once for each millisecond.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-01-01T00:00:00.000Z`
const LENGTH: usize = 24;

const MILLISECONDS_PER_DAY: u64 = 86_400_000;
/// The last millisecond with a year of four digits, 9999-12-31T23:59:59.999Z.
const LAST: u64 = 253_402_300_799_999;

/// The text of the latest time asked for.
pub(super) struct Stamp {
    /// Milliseconds since 1970, plus one; zero before the first time.
    known: u64,
    text: [u8; LENGTH],
}

impl Stamp {
    pub(super) const fn new() -> Self {
        Self { known: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }

    /// The text of `time`. What lies before 1970 or after 9999 is shown as the nearest time in between.
    pub(super) fn text(&mut self, time: SystemTime) -> &[u8] {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(LAST).min(LAST);
        if self.known != milliseconds + 1 {
            self.known = milliseconds + 1;
            self.render(milliseconds);
        }
        &self.text
    }

    fn render(&mut self, milliseconds: u64) {
        let (year, month, day) = civil(milliseconds / MILLISECONDS_PER_DAY);
        let of_day = milliseconds % MILLISECONDS_PER_DAY;
        let second = of_day / 1_000;
        self.digits(0, 4, year);
        self.digits(5, 2, month);
        self.digits(8, 2, day);
        self.digits(11, 2, second / 3_600);
        self.digits(14, 2, second / 60 % 60);
        self.digits(17, 2, second % 60);
        self.digits(20, 3, of_day % 1_000);
    }

    fn digits(&mut self, at: usize, count: usize, mut value: u64) {
        for place in (at..at + count).rev() {
            // A remainder of ten fits a byte.
            self.text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, for days not before it.
///
/// Howard Hinnant's `civil_from_days`: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>. Years
/// start in March there, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges_are_right() {
        let mut stamp = Stamp::new();
        for (milliseconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_600_001, "2026-01-01T00:00:00.001Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
            (LAST + 1, "9999-12-31T23:59:59.999Z"),
        ] {
            let text = stamp.text(UNIX_EPOCH + Duration::from_millis(milliseconds)).to_vec();
            assert_eq!(String::from_utf8(text).unwrap(), want);
        }
        assert_eq!(stamp.text(UNIX_EPOCH - Duration::from_secs(1)), b"1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn any_time_is_what_jiff_says(milliseconds in 0..=LAST) {
            let want = jiff::Timestamp::from_millisecond(i64::try_from(milliseconds).unwrap());
            prop_assume!(want.is_ok());
            let mut stamp = Stamp::new();
            let text = stamp.text(UNIX_EPOCH + Duration::from_millis(milliseconds));
            prop_assert_eq!(std::str::from_utf8(text).unwrap(), format!("{:.3}", want.unwrap()));
        }
    }
}
