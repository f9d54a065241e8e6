//! Spans of time that users set.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Invalid, serde_as_text};

/// A whole number of seconds. Written `90s`, `1m30s` or `2h`, as Docker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u32);

impl Seconds {
    /// The same as a `Duration`.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        for (count, unit) in [(hours, 'h'), (minutes, 'm')] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        if seconds > 0 || self.0 == 0 { write!(f, "{seconds}s") } else { Ok(()) }
    }
}

impl FromStr for Seconds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new(format!("{text:?} is not a whole number of seconds like 10s, 1m30s or 2h"));
        let mut rest = text;
        let mut total: u32 = 0;
        for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((count, after)) = rest.split_once(unit) else { continue };
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let count: u32 = count.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
            total = count.checked_mul(length).and_then(|span| total.checked_add(span)).ok_or_else(invalid)?;
            rest = after;
        }
        if !rest.is_empty() || text.is_empty() {
            return Err(invalid());
        }
        Ok(Self(total))
    }
}

serde_as_text!(Seconds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, seconds, shown) in [
            ("0s", 0, "0s"),
            ("90s", 90, "1m30s"),
            ("1m30s", 90, "1m30s"),
            ("2h", 7200, "2h"),
            ("1h1s", 3601, "1h1s"),
            ("4294967295s", u32::MAX, "1193046h28m15s"),
        ] {
            let parsed: Seconds = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (Seconds(seconds), shown));
            assert_eq!(shown.parse(), Ok(parsed));
        }
        for bad in ["", "10", "s", "-1s", "+1s", "1s1m", "1.5s", "500ms", "4294967296s", "1193047h", "1d"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
